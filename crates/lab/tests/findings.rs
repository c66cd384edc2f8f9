//! The experiment must fail when the network is not as it should be.

mod common;

use dirigo_lab::experiment::{self, Settings};
use dirigo_lab::{Family, Host, Lab, Report};

/// Carries out the experiment in a lab that was tampered with.
fn tampered(tamper: impl FnOnce(&mut Lab)) -> Report {
    let options = common::options(Family::Ipv4);
    let settings = Settings {
        requests: 4,
        ..Settings::default()
    };
    let mut silent = |_: &str| {};
    let mut lab = Lab::up(&options, settings.pages, &mut silent).expect("the lab stands");
    tamper(&mut lab);
    let mut report = Report::new(&options.name, options.family);
    experiment::carry_out(&mut lab, &settings, &mut report, &mut silent).expect("no interruption");
    report
}

fn failed_steps(report: &Report) -> Vec<u8> {
    let failed = report.steps.iter().filter(|step| !step.ok);
    failed.map(|step| step.step).collect()
}

#[test]
fn a_real_server_that_answers_from_the_start_is_found_in_step_1() {
    if !common::have_root() {
        return;
    }
    let report = tampered(|lab| {
        for conf in ["all", "lo", "eth0"] {
            let key = format!("ipv4/conf/{conf}/arp_ignore");
            lab.net.set_sysctl(Host::Rs2, &key, "0").expect("set");
        }
    });
    assert!(!report.ok);
    assert!(failed_steps(&report).contains(&1), "{:?}", report.steps);
    let answered = report.arp.expect("step 1 ran").vip_answered_by;
    assert!(answered.contains(&Host::Rs2), "{answered:?}");
}

#[test]
fn weights_that_are_not_the_experiments_are_found_in_steps_2_and_3() {
    if !common::have_root() {
        return;
    }
    let report = tampered(|lab| lab.set_weight(Host::Rs1, 7).expect("edited"));
    assert!(!report.ok);
    assert_eq!(failed_steps(&report)[..2], [2, 3], "{:?}", report.steps);
}

#[test]
fn a_dead_page_ends_the_experiment_with_its_reason() {
    if !common::have_root() {
        return;
    }
    let report = tampered(|lab| lab.crash_page(Host::Rs1));
    assert!(!report.ok);
    assert_eq!(failed_steps(&report), [3]);
    let error = report.error.expect("a reason");
    assert!(error.contains("192.168.188.120:80"), "{error}");
}
