//! What the kernel says of this process (proc(5)).

use std::time::Duration;

/// As far as it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Seconds since 1970.
    pub(crate) started: Option<f64>,
    /// Seconds of processor time.
    pub(crate) cpu: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_files: Option<usize>,
    pub(crate) max_files: Option<u64>,
}

/// Reads it.
pub(crate) fn read() -> Process {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .unwrap_or_default();
    let boot = boot_time();
    Process {
        // Fields 22, 14, 15 and 24.
        started: field(&stat, 22)
            .zip(boot)
            .map(|(at, boot)| boot + at as f64 / ticks()),
        cpu: field(&stat, 14)
            .zip(field(&stat, 15))
            .map(|(user, system)| (user + system) as f64 / ticks()),
        resident_bytes: field(&stat, 24).map(|pages| pages * page()),
        open_files: std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        max_files: (most > 0).then_some(most),
    }
}

/// A numbered field; counted from behind the name, which may hold blanks.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields = behind.split_whitespace();
    fields.into_iter().nth(number.checked_sub(3)?)?.parse().ok()
}

fn ticks() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks.ok().flatten().unwrap_or(100) as f64
}

fn page() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    page.ok().flatten().unwrap_or(4096).unsigned_abs()
}

/// When the host started, as seconds since 1970.
fn boot_time() -> Option<f64> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    Some((now - Duration::from(up).min(now)).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_no_field() {
        let stat = "7 (a) b) S 1 2 3";
        assert_eq!(field(stat, 4), Some(1));
        assert_eq!(field(stat, 6), Some(3));
        assert_eq!(field(stat, 7), None);
    }

    #[test]
    fn this_process_started_before_now_and_has_memory_and_files() {
        let process = read();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        assert!(process.started.unwrap() <= now.unwrap().as_secs_f64());
        assert!(process.resident_bytes.unwrap() > 0 && process.open_files.unwrap() > 0);
        assert!(process.cpu.is_some() && process.max_files.is_some());
    }
}
