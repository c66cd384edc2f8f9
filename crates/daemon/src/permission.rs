//! What the process must be allowed to do.

/// Capabilities that are needed, with their bit (Linux `capability.h`) and the reason.
const NEEDED: [(&str, u32, &str); 4] = [
    (
        "CAP_NET_ADMIN",
        12,
        "to attach the program and hold addresses",
    ),
    ("CAP_NET_RAW", 13, "to ask for MAC addresses"),
    ("CAP_SYS_ADMIN", 21, "to pin maps"),
    ("CAP_BPF", 39, "to load the program"),
];

/// What is missing, for people; empty if nothing is.
pub(crate) fn missing() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    missing_of(effective(&status))
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn missing_of(effective: u64) -> Vec<String> {
    NEEDED
        .iter()
        .filter(|(_, bit, _)| effective >> bit & 1 == 0)
        .map(|(name, _, reason)| format!("{name} ({reason})"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let all = effective("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert!(missing_of(all).is_empty());
        let without_bpf = missing_of(all & !(1 << 39));
        assert_eq!(without_bpf, ["CAP_BPF (to load the program)"]);
        assert_eq!(missing_of(effective("no such line")).len(), NEEDED.len());
    }
}
