//! Numbers, addresses and ports, as people write them in these files.

use std::net::IpAddr;

/// Names of ports that such files use; others are asked for in digits, because what a name means is
/// another machine's affair.
const PORTS: [(&str, u16); 27] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("http-alt", 8080),
    ("webcache", 8080),
    ("pop3", 110),
    ("nntp", 119),
    ("ntp", 123),
    ("imap2", 143),
    ("imap", 143),
    ("ldap", 389),
    ("https", 443),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("radius", 1812),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("sip", 5060),
];

/// A port, in digits or by a name that everybody knows.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let known = PORTS.iter().find(|(name, _)| *name == text);
    known.map(|(_, port)| *port).ok_or_else(|| {
        format!("`{text}` is no port: write a number from 0 to 65535, as `ipvsadm-save -n` does")
    })
}

/// An address; names are not looked up, since the answer may differ from machine to machine and day to day.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse().map_err(|_| {
        format!("`{text}` is no IP address, and names are not looked up: write the address")
    })
}

/// `192.0.2.1:80`, `192.0.2.1:http`, `[2001:db8::1]:80`, or either without port.
pub(crate) fn address_and_port(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse() {
        return Ok((address, None));
    }
    match text.rsplit_once(':') {
        Some((host, service)) if !service.contains(']') => {
            Ok((address(host)?, Some(port(service)?)))
        }
        _ => Ok((address(text)?, None)),
    }
}

/// A whole number in a range.
pub(crate) fn number(what: &str, text: &str, min: u32, max: u32) -> Result<u32, String> {
    let found = text.parse::<u32>().ok();
    found
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("`{what} {text}`: write a whole number from {min} to {max}"))
}

/// Seconds, perhaps with a fraction, in milliseconds.
pub(crate) fn seconds_ms(what: &str, text: &str) -> Result<u32, String> {
    let wrong = || format!("`{what} {text}`: write a number of seconds");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let good = (0.0..=1_000_000.0).contains(&seconds);
    good.then_some((seconds * 1000.0) as u32).ok_or_else(wrong)
}

/// A text as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML writes it.
pub(crate) fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts
        .into_iter()
        .map(|text| quoted(text.as_ref()))
        .collect();
    format!("[{}]", texts.join(", "))
}

/// A time as our file writes it.
pub(crate) fn time(milliseconds: u32) -> String {
    match milliseconds {
        ms if ms % 1000 != 0 => format!("\"{ms}ms\""),
        ms => format!("\"{}s\"", ms / 1000),
    }
}

/// The words of a line; quotes keep blanks, and are taken away.
pub(crate) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Schedulers that both have.
pub(crate) const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];

/// The pace of a check, from what the other director says, with a word about what does not fit.
pub(crate) struct Pace {
    pub interval_ms: u32,
    pub fast_interval_ms: Option<u32>,
    pub timeout_ms: u32,
    pub fall: u32,
}

impl Pace {
    /// Our keys. Attempts never overlap here, so a timeout is not longer than the interval.
    pub fn keys(&self, notes: &mut dyn FnMut(String)) -> Vec<(&'static str, String)> {
        let interval = self.interval_ms.clamp(100, 3_600_000);
        if interval != self.interval_ms {
            notes(format!(
                "an interval of {} ms between checks is taken as {interval} ms",
                self.interval_ms
            ));
        }
        let timeout = self.timeout_ms.clamp(10, interval);
        if timeout != self.timeout_ms {
            notes(format!(
                "a check's timeout of {} ms is taken as {timeout} ms: attempts do not overlap, so it is no \
                 longer than the interval",
                self.timeout_ms
            ));
        }
        let mut keys = vec![("to", quoted("own")), ("interval", time(interval))];
        let fast = self.fast_interval_ms.map(|fast| fast.clamp(100, interval));
        if let Some(fast) = fast.filter(|fast| *fast != interval) {
            keys.push(("fast_interval", time(fast)));
        }
        keys.push(("timeout", time(timeout)));
        keys.push(("rise", "1".to_owned()));
        keys.push(("fall", self.fall.clamp(1, 100).to_string()));
        keys
    }
}

/// What is said about a forwarding method that is not direct routing.
pub(crate) fn other_method(who: &str, method: &str) -> String {
    format!(
        "{who} is served by {method}, which dirigo does not have: carried over as direct routing. The real \
         servers must be on a link of the director's, have the virtual address on lo (`dirigo realserver up \
         --vip ADDRESS` there), listen on the service's own port, and answer clients without the director"
    )
}
