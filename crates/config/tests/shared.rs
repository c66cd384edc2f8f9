//! Real servers, templates and defaults: defined once, used in many services.

use dirigo_config::{Config, Scheduler};

const HEAD: &str = r#"[director]
interface = "eth0"

[[check]]
name = "web"
type = "http"

[[check]]
name = "port"
type = "tcp"

[[real_server]]
name = "rs1"
address = "192.168.188.107"
weight = 3
checks = ["port"]

[[real_server]]
name = "rs2"
address = "192.168.188.110"
upper_threshold = 1000
"#;

fn parse(text: &str) -> Config {
    match Config::parse(&format!("{HEAD}{text}"), "dirigo.toml") {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// What is said, without line breaks, lines counted from the end of [`HEAD`].
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Config::parse(&format!("{HEAD}{text}"), "dirigo.toml");
    let before = HEAD.lines().count();
    let list = mistakes.expect_err("this configuration is wrong").list;
    let said = list.into_iter().map(|mistake| {
        let (line, column) = (mistake.line as i64 - before as i64, mistake.column);
        format!("{line}:{column}: {}", mistake.reason)
    });
    said.collect()
}

/// Each destination as `address weight upper`, those of each service in a line.
fn destinations(config: &Config) -> Vec<String> {
    let of_service = |service: &dirigo_config::Service| -> String {
        let all = service
            .destinations
            .iter()
            .map(|one| format!("{} {} {}", one.address, one.weight, one.upper_threshold));
        all.collect::<Vec<_>>().join(", ")
    };
    config
        .services
        .iter()
        .map(|service| of_service(service))
        .collect()
}

#[test]
fn a_real_server_is_defined_once_and_has_each_services_port() {
    let config = parse(
        r#"[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
real_servers = ["rs1", "rs2"]
[[service]]
address = "192.168.188.120:443"
protocol = "tcp"
real_servers = ["rs2", "rs1"]
"#,
    );
    assert_eq!(
        destinations(&config),
        [
            "192.168.188.107:80 3 0, 192.168.188.110:80 1 1000",
            "192.168.188.110:443 1 1000, 192.168.188.107:443 3 0",
        ]
    );
    assert_eq!(config.real_servers.len(), 2);
}

#[test]
fn what_a_destination_says_itself_counts_before_what_its_real_server_says() {
    let config = parse(
        r#"[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
checks = ["web"]
real_servers = ["rs2"]
  [[service.destination]]
  real_server = "rs1"
  weight = 7
  upper_threshold = 5
  [[service.destination]]
  address = "192.168.188.111"
"#,
    );
    assert_eq!(
        destinations(&config),
        ["192.168.188.110:80 1 1000, 192.168.188.107:80 7 5, 192.168.188.111:80 1 0"]
    );
    let health = config.services[0].health.as_ref().unwrap();
    let exceptions: Vec<_> = health.exceptions.iter().collect();
    assert_eq!(
        exceptions.len(),
        1,
        "rs1 has checks of its own: {exceptions:?}"
    );
    assert_eq!(exceptions[0].0.to_string(), "192.168.188.107");
    assert_eq!(&*exceptions[0].1[0], "port");
}

#[test]
fn a_service_counts_before_its_template_and_that_before_the_defaults() {
    let config = parse(
        r#"[defaults.service]
scheduler = "lc"
persistence = 100
share = 50
[template.sticky]
persistence = 200
protocol = "tcp"
real_servers = ["rs1"]
[[service]]
address = "192.168.188.120:80"
template = "sticky"
share = 10
[[service]]
address = "192.168.188.120:53"
protocol = "udp"
"#,
    );
    let [web, names] = config.services.as_slice() else {
        panic!("{:?}", config.services);
    };
    assert_eq!(web.scheduler, Scheduler::Lc, "from the defaults");
    let seconds =
        |service: &dirigo_config::Service| service.persistence.as_ref().map(|one| one.timeout_s);
    assert_eq!(seconds(web), Some(200), "from the template");
    assert_eq!(web.share, Some(10), "its own");
    assert_eq!(web.destinations.len(), 1);
    assert_eq!((seconds(names), names.share), (Some(100), Some(50)));
    assert!(names.destinations.is_empty());
}

#[test]
fn checks_have_what_the_defaults_of_checks_say() {
    let config = parse("[defaults.check]\ninterval = \"7s\"\nto = \"own\"\nfall = 9\n");
    let check = &config.checks["web"];
    assert_eq!(check.pace.interval.as_secs(), 7);
    assert_eq!(check.pace.fall, 9);
    assert_eq!(
        check.to,
        parse("[defaults.check]\nto = \"own\"\n").checks["port"].to
    );
}

#[test]
fn a_sorry_server_may_be_named() {
    let config = parse(
        r#"[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
checks = ["web"]
sorry_server = "rs2"
real_servers = ["rs1"]
"#,
    );
    let health = config.services[0].health.as_ref().unwrap();
    let sorry = health.rules.sorry_server.map(|sorry| sorry.to_string());
    assert_eq!(sorry.as_deref(), Some("192.168.188.110"));
}

#[test]
fn names_that_nobody_has_are_answered_with_the_nearest() {
    let said = mistakes(
        r#"[template.sticky]
persistence = 100
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
template = "stikcy"
real_servers = ["rs3"]
sorry_server = "rs22"
checks = ["prot"]
  [[service.destination]]
  real_server = "elephant"
"#,
    );
    assert_eq!(
        said,
        [
            "6:12: there is no template \"stikcy\": did you mean \"sticky\"?",
            "7:17: there is no real server \"rs3\": did you mean \"rs1\"?",
            "8:16: there is no real server \"rs22\": did you mean \"rs2\"?",
            "9:11: there is no check \"prot\": did you mean \"port\"?",
            "11:17: there is no real server \"elephant\": define it as [[real_server]] with this name",
        ]
    );
}

#[test]
fn a_mistake_in_a_template_is_told_once_however_many_use_it() {
    let said = mistakes(
        r#"[template.sticky]
persistence = 0
scheduler = "rrr"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
template = "sticky"
[[service]]
address = "192.168.188.121:80"
protocol = "tcp"
template = "sticky"
"#,
    );
    assert_eq!(
        said,
        [
            "2:15: `persistence` = 0 is out of range: write a number from 1 to 2678400",
            "3:13: `scheduler` = \"rrr\" is unknown: did you mean `rr`?",
        ]
    );
}

#[test]
fn what_is_wrong_only_in_one_service_names_it() {
    let said = mistakes(
        r#"[template.names]
one_packet = true
[[service]]
address = "192.168.188.120:53"
protocol = "udp"
template = "names"
[[service]]
address = "192.168.188.120:53"
protocol = "tcp"
template = "names"
"#,
    );
    let [said] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert!(
        said.starts_with("2:1: one-packet scheduling is for UDP"),
        "{said}"
    );
    assert!(said.ends_with("(used by the service in line 28)"), "{said}");
}

#[test]
fn defaults_that_need_checks_do_not_hurt_services_without() {
    let config = parse(
        "[defaults.service]\nquorum = 2\n[[service]]\naddress = \"192.168.188.120:80\"\nprotocol = \"tcp\"\n",
    );
    assert_eq!(config.services[0].health, None);
}

#[test]
fn real_servers_that_cannot_be_are_told_with_both_places() {
    let said = mistakes(
        r#"[[real_server]]
name = "rs1"
address = "192.168.188.111:80"
[[real_server]]
name = "rs4"
address = "192.168.188.110"
[[real_server]]
name = ""
address = "2001:db8::7"
[[real_server]]
name = "10.0.0.1"
address = "192.168.188.120"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
  [[service.destination]]
  address = "192.168.188.112"
  real_server = "rs1"
"#,
    );
    assert_eq!(
        said,
        [
            "2:8: real server \"rs1\" is already defined in line 12: give one of the two another name",
            "3:11: a real server has no port, because direct routing keeps that of each service: write \"192.168.188.111\"",
            "6:11: 192.168.188.110 is already the address of real server \"rs2\", in line 18: let services use that one",
            "8:8: a real server's name cannot be empty: write for example name = \"rs1\"",
            "11:8: a real server's name cannot be an address, as \"10.0.0.1\" is: write for example name = \"rs1\"",
            "17:3: a destination has either `address` or `real_server`: leave one of them out",
        ]
    );
}

#[test]
fn a_real_server_that_is_a_virtual_address_is_found_even_if_nobody_uses_it() {
    let said = mistakes(
        r#"[[real_server]]
name = "rs3"
address = "192.168.188.120"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
"#,
    );
    let [said] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert!(
        said.starts_with("3:11: destination 192.168.188.120 is the virtual address"),
        "{said}"
    );
}

#[test]
fn a_named_server_of_the_other_family_is_told_where_it_is_named() {
    let said = mistakes(
        "[[service]]\naddress = \"[2001:db8::1]:80\"\nprotocol = \"tcp\"\nreal_servers = [\"rs1\"]\n",
    );
    let [said] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert!(
        said.starts_with("4:17: destination 192.168.188.107 and virtual address"),
        "{said}"
    );
}

#[test]
fn a_server_outside_the_directors_subnets_cannot_be_reached_by_direct_routing() {
    let text = HEAD.replace(
        "interface = \"eth0\"",
        "interface = \"eth0\"\nsubnets = [\"192.168.188.104/30\", \"2001:db8::/64\"]",
    );
    let service = "[[service]]\naddress = \"10.0.0.1:80\"\nprotocol = \"tcp\"\n\
                   [[service.destination]]\naddress = \"192.168.188.104\"\n\
                   [[service.destination]]\naddress = \"192.168.188.108\"\n";
    let mistakes = Config::parse(&(text + service), "dirigo.toml").expect_err("off the link");
    let places: Vec<_> = mistakes
        .list
        .iter()
        .map(|one| (one.line, one.column))
        .collect();
    assert_eq!(places, [(21, 11), (29, 11)], "{mistakes}");
    assert!(
        mistakes
            .to_string()
            .contains("in none of the director's `subnets`")
    );
}

#[test]
fn subnets_of_one_family_say_nothing_about_the_other() {
    let text = HEAD.replace(
        "interface = \"eth0\"",
        "interface = \"eth0\"\nsubnets = [\"2001:db8::/64\"]",
    );
    assert!(Config::parse(&text, "dirigo.toml").is_ok());
}

#[test]
fn a_template_has_no_address_and_a_list_has_no_tables() {
    let said = mistakes(
        r#"[template.web]
address = "192.168.188.120:80"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
real_server = ["rs1"]
real_servers = [{ name = "rs1" }]
"#,
    );
    assert_eq!(
        said,
        [
            "2:1: [template.NAME] has no key `address`: it belongs in [[service]]",
            "6:1: [[service]] has no key `real_server`: did you mean `real_servers`?",
            "7:17: `real_servers` takes a list of strings, but this is a table: write for example real_servers = [\"rs1\"]",
        ]
    );
}
