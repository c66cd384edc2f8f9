//! Scripts wait for a turn. Alone in its process: the turns are the process's.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{block_on, check};
use dirigo_health as health;
use health::attempt::{Route, Target, attempt};
use health::check::{Check, Kind, Script};
use health::reason::{Outcome, Reason};

fn script(words: &str) -> Check {
    check(Kind::Script(Script {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), words.to_owned()],
        user: "nobody".to_owned(),
    }))
}

#[test]
fn a_script_that_has_no_turn_is_the_directors_fault_not_the_servers() {
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    let target = move || Target {
        server: to.ip(),
        to,
        route: Route::Host,
    };
    let mut slow = script("sleep 20");
    slow.pace.timeout = Duration::from_millis(1500);
    let mut late = script("exit 0");
    late.pace.timeout = Duration::from_millis(300);
    let found = block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..health::limits::SCRIPTS {
            let slow = slow.clone();
            running.spawn_local(async move { attempt(&slow, &target()).await });
        }
        tokio::task::yield_now().await;
        let found = attempt(&late, &target()).await;
        running.join_all().await;
        found
    });
    assert!(
        matches!(found, Outcome::Failed(Reason::Local(_))),
        "{found:?}"
    );
}
