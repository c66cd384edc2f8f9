//! Samples of our own: what becomes of them, and what is said, as snapshots.
//!
//! After a change that is meant to change them: `INSTA_UPDATE=always cargo test -p dirigo-import --test
//! samples`, and read the difference.

use config::Config;
use dirigo_import::{Format, import};

fn check(format: Format, name: &str, text: &str) -> Config {
    let imported = match import(format, text, name) {
        Ok(imported) => imported,
        Err(failure) => panic!("{failure}"),
    };
    let both = format!("{}\n{}", imported.toml, imported.report);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, both);
    });
    match Config::parse(&imported.toml, name) {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

#[test]
fn a_keepalived_conf_with_everything() {
    let text = include_str!("samples/keepalived.conf");
    let config = check(Format::Keepalived, "keepalived.conf", text);
    assert_eq!(config.services.len(), 8, "three of a range, and a mark");
    assert!(!config.manage_vips, "keepalived moves them");
    assert_eq!(config.interfaces[0].as_str(), "eth1");
}

#[test]
fn an_ldirectord_cf_with_everything() {
    let config = check(
        Format::Ldirectord,
        "ldirectord.cf",
        include_str!("samples/ldirectord.cf"),
    );
    assert_eq!(config.services.len(), 8);
    assert_eq!(
        config.services[0].destinations.len(),
        4,
        "the one by name is left out"
    );
}

#[test]
fn what_ipvsadm_save_prints() {
    let config = check(
        Format::Ipvsadm,
        "ipvsadm.rules",
        include_str!("samples/ipvsadm.rules"),
    );
    assert_eq!(config.services.len(), 8);
}

#[test]
fn the_directors_script() {
    let config = check(
        Format::Scripts,
        "lvs_dr.sh",
        include_str!("samples/lvs_dr.sh"),
    );
    assert_eq!(config.services.len(), 2);
    assert_eq!(config.services[0].destinations.len(), 2, "of a loop");
    assert_eq!(config.marks.len(), 1);
    assert!(config.settings.expire_nodest_conn);
}

#[test]
fn the_real_servers_script() {
    let config = check(
        Format::Scripts,
        "lvs_rs.sh",
        include_str!("samples/lvs_rs.sh"),
    );
    assert_eq!(config.services, []);
}
