//! Deliberately wrong configurations, each a file in `tests/wrong`, and what is said about
//! them, each a snapshot in `tests/snapshots`.
//!
//! After a change that is meant to change messages: `INSTA_UPDATE=always cargo test -p
//! dirigo-config --test wrong`, and read the difference.

macro_rules! wrong {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                let text = include_str!(concat!("wrong/", stringify!($name), ".toml"));
                let mistakes = dirigo_config::Config::parse(text, "director.toml")
                    .expect_err("this configuration is wrong");
                insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                    insta::assert_snapshot!(stringify!($name), mistakes);
                });
            }
        )*
    };
}

wrong! {
    a_broken_line
    a_destination_listed_twice
    a_destination_of_the_other_family
    a_director_that_is_its_own_client
    a_destination_that_is_the_virtual_address
    a_forwarding_method_other_than_direct_routing
    a_key_set_twice
    a_listener_in_the_clear
    a_listener_that_cannot_be
    a_listener_without_its_address
    a_real_server_on_another_port
    a_service_defined_twice
    a_service_without_a_port
    addresses_that_are_none
    an_empty_file
    an_unclosed_list
    an_unknown_protocol
    an_unknown_scheduler
    checks_of_marks_that_have_nowhere_to_ask
    checks_that_cannot_be
    destinations_that_are_not_unicast
    firewall_marks_that_do_not_fit
    interface_and_interfaces
    interface_names_that_cannot_be
    keys_in_the_wrong_table
    keys_misspelt
    keys_unknown
    metrics_that_do_not_fit
    mistakes_of_every_kind_at_once
    more_interfaces_than_there_is_room
    no_interfaces_in_the_list
    nobody_who_is_told
    numbers_out_of_range
    port_zero
    programs_and_hooks_that_cannot_be
    required_keys_missing
    rules_of_a_service_that_do_not_fit
    scalars_where_tables_are_due
    single_brackets_where_two_are_due
    thresholds_flags_and_shares_that_do_not_fit
    two_brackets_where_single_ones_are_due
    values_of_the_wrong_type
    virtual_addresses_that_are_not_unicast
    weights_out_of_range
}

#[test]
fn every_wrong_configuration_in_the_folder_is_tested() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    files.sort();
    assert_eq!(files, TESTED);
}
