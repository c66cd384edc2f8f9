//! The classic experiment in six steps.
//!
//! | step | shows | from |
//! | --- | --- | --- |
//! | 1 `resolution` | who answers for the VIP | captures, client's neighbour table |
//! | 2 `table` | `ipvsadm -ln` | the daemon |
//! | 3 `spread` | how requests spread, 1:1 and 3:1 | the pages |
//! | 4 `hops` | one request, three hops, no reply through the director | captures, port counters |
//! | 5 `flux`, `announce` | what goes wrong without suppression, and that it is mended | captures, client's neighbour table |
//! | 6 `drain` | weight 0, a failing server | long-lived connections |
//!
//! Each step returns checks: what should be seen and what was. A step that cannot be carried out
//! ends the experiment; a step that shows something else does not.

mod announce;
mod drain;
mod flux;
mod hops;
mod observe;
mod resolution;
mod spread;
mod table;

use std::time::Instant;

use crate::page::Kind;
use crate::report::{Check, Step};
use crate::{Error, Lab, Options, Report};

type Run = fn(&mut Lab, &Settings, &mut Report) -> Result<Vec<Check>, Error>;

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests of each spread.
    pub requests: u32,
    /// Who serves the pages.
    pub pages: Kind,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests: 20,
            pages: Kind::available(),
        }
    }
}

/// Builds a lab and carries out all six steps. `say` hears the progress.
///
/// The lab comes back for whoever wants its captures or wants it to stand; it is absent if it could
/// not be built. An interruption, missing permission or a name that cannot be are errors: anything
/// else is in the report.
pub fn run(
    options: &Options,
    settings: &Settings,
    say: &mut dyn FnMut(&str),
) -> Result<(Report, Option<Lab>), Error> {
    let begun = Instant::now();
    let mut report = Report::new(&options.name, options.family);
    let mut lab = match Lab::up(options, settings.pages, say) {
        Ok(lab) => lab,
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(error @ Error::Exists { .. }) => return Err(error),
        Err(error) if error.is_not_permitted() || error.is_usage() => return Err(error),
        Err(error) => {
            report.error = Some(error.to_string());
            return Ok((report, None));
        }
    };
    carry_out(&mut lab, settings, &mut report, say)?;
    report.duration_ms = begun.elapsed().as_millis();
    Ok((report, Some(lab)))
}

/// Carries out the six steps in a lab that runs, as long as each can be carried out.
pub fn carry_out(
    lab: &mut Lab,
    settings: &Settings,
    report: &mut Report,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    report.pages = lab.pages();
    match steps(lab, settings, report, say) {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(error) => report.error = Some(error.to_string()),
        Ok(()) => {}
    }
    report.ok = report.error.is_none() && report.steps.iter().all(|step| step.ok);
    Ok(())
}

fn steps(
    lab: &mut Lab,
    settings: &Settings,
    report: &mut Report,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    if let Some(director) = &lab.director {
        let interfaces = director.status()?.interfaces;
        report.mode = interfaces
            .first()
            .map(|one| one.mode.clone())
            .unwrap_or_default();
    }
    let resolution = lab.family().resolution();
    let list: [(u8, String, Run); 7] = [
        (
            1,
            format!("who answers {resolution} for the VIP"),
            resolution::run,
        ),
        (2, "the table, as ipvsadm prints it".to_owned(), table::run),
        (3, "how requests spread".to_owned(), spread::run),
        (4, "one request, hop by hop".to_owned(), hops::run),
        (
            5,
            "a real server that answers for the VIP".to_owned(),
            flux::run,
        ),
        (
            5,
            "a real server that announces the VIP".to_owned(),
            announce::run,
        ),
        (
            6,
            "a weight of 0, and a server that fails".to_owned(),
            drain::run,
        ),
    ];
    for (step, title, run) in list {
        lab.net.interrupt().check()?;
        say(&format!("step {step} of 6: {title}"));
        let done = run(lab, settings, report);
        let mut checks = match &done {
            Ok(checks) => checks.clone(),
            Err(error) => vec![Check::that(
                "the step can be carried out",
                false,
                error.to_string(),
            )],
        };
        let lost = lab.capture.lost();
        if lost > 0 {
            checks.push(Check::that(
                "no frame is lost by the captures",
                false,
                lost.to_string(),
            ));
        }
        let ok = checks.iter().all(|check| check.ok);
        report.steps.push(Step {
            step,
            title,
            checks,
            ok,
        });
        done?;
    }
    Ok(())
}
