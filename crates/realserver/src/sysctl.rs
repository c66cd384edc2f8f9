//! The kernel's settings of ARP, as files under `/proc/sys/net/ipv4/conf`.
//!
//! Each exists for `all` and for every interface; what counts on an interface is the larger of the
//! two (`IN_DEV_MAXCONF`, Linux `include/linux/inetdevice.h`). Larger is not stricter, though:
//! see [`hides_vip`] and [`keeps_vip_out`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The pseudo-interface whose values count everywhere.
pub(crate) const ALL: &str = "all";
/// The loopback interface.
pub(crate) const LO: &str = "lo";
/// Where the settings are. The thread's own namespace is what one sees here.
const CONF: &str = "/proc/sys/net/ipv4/conf";

/// One of the settings this room knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// Which ARP requests are answered.
    ArpIgnore,
    /// Which own address ARP requests carry as sender.
    ArpAnnounce,
    /// Whether packets are dropped that came another way than the reply would go.
    RpFilter,
}

impl Setting {
    /// The file's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ArpIgnore => "arp_ignore",
            Self::ArpAnnounce => "arp_announce",
            Self::RpFilter => "rp_filter",
        }
    }
}

/// A setting of one interface, or of `all`. Written `all/arp_ignore`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The interface.
    pub interface: String,
    /// The setting.
    pub setting: Setting,
}

impl Key {
    /// A setting of one interface.
    #[must_use]
    pub fn new(interface: &str, setting: Setting) -> Self {
        Self {
            interface: interface.to_owned(),
            setting,
        }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        [CONF, &self.interface, self.setting.name()]
            .iter()
            .collect()
    }

    /// As `sysctl` and `sysctl.d` write it. A dot within a name (a VLAN's) needs the other form.
    #[must_use]
    pub fn sysctl_name(&self) -> String {
        let name = self.setting.name();
        if self.interface.contains('.') {
            return format!("net/ipv4/conf/{}/{name}", self.interface);
        }
        format!("net.ipv4.conf.{}.{name}", self.interface)
    }

    /// The command that sets it.
    #[must_use]
    pub fn command(&self, value: i32) -> String {
        format!("sysctl -w {}={value}", self.sysctl_name())
    }

    /// Its value; `None` if the interface is gone.
    pub(crate) fn read(&self) -> Result<Option<i32>, Error> {
        let path = self.path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.error("reading".to_owned(), source)),
        };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::SysctlValue { path, found: text }),
        }
    }

    pub(crate) fn write(&self, value: i32) -> Result<(), Error> {
        // No `create`: the file is there or the interface is gone.
        let done = std::fs::OpenOptions::new()
            .write(true)
            .open(self.path())
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, format!("{value}\n").as_bytes())
            });
        done.map_err(|source| self.error(format!("writing {value} to"), source))
    }

    fn error(&self, verb: String, source: std::io::Error) -> Error {
        Error::Sysctl {
            verb,
            key: self.clone(),
            path: self.path(),
            source,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.interface, self.setting.name())
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let settings = [Setting::ArpIgnore, Setting::ArpAnnounce, Setting::RpFilter];
        let parts = text.split_once('/').and_then(|(interface, name)| {
            let setting = settings
                .into_iter()
                .find(|setting| setting.name() == name)?;
            let fits = !interface.is_empty() && !matches!(interface, "." | "..");
            fits.then(|| Self::new(interface, setting))
        });
        parts.ok_or_else(|| format!("{text:?} is not a setting such as all/arp_ignore"))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A setting as it stands on one interface: what is written, and what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The value of `all`.
    pub all: i32,
    /// The interface's own.
    pub interface: i32,
    /// The larger of the two, which the kernel uses.
    pub effective: i32,
}

impl Effective {
    /// Combines the two as the kernel does.
    #[must_use]
    pub fn new(all: i32, interface: i32) -> Self {
        Self {
            all,
            interface,
            effective: all.max(interface),
        }
    }
}

/// Whether an interface with this effective `arp_ignore` is silent about a VIP on `lo`.
///
/// | value | answers for |
/// | --- | --- |
/// | 0 | every local address |
/// | 1 | addresses of the receiving interface |
/// | 2 | the same, if the asker is in its subnet |
/// | 3 | every local address but those of host scope |
/// | 4 to 7 and above 8 | every local address (reserved) |
/// | 8 | nothing, which also hides the host's own address |
///
/// Source: `arp_ignore()` in Linux `net/ipv4/arp.c`. So 3 hides a VIP only if it was added with
/// `scope host`, which few do.
#[must_use]
pub fn hides_vip(arp_ignore: i32, vip_has_host_scope: bool) -> bool {
    match arp_ignore {
        1 | 2 | 8 => true,
        3 => vip_has_host_scope,
        _ => false,
    }
}

/// Whether ARP requests of an interface with this effective `arp_announce` never carry the VIP.
///
/// 0 takes the source of the packet that waits, which for replies is the VIP; 1 does so when the
/// asked address is in the VIP's subnet, as clients beside the servers are; 2 takes the interface's
/// own address. Every other value is treated as 0. Source: `arp_solicit()` in `net/ipv4/arp.c`.
#[must_use]
pub fn keeps_vip_out(arp_announce: i32) -> bool {
    arp_announce == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_value_is_the_larger_of_all_and_the_interface() {
        for (all, interface, effective) in [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 2, 2), (8, 1, 8)] {
            assert_eq!(Effective::new(all, interface).effective, effective);
        }
    }

    #[test]
    fn larger_is_not_stricter() {
        let hiding: Vec<i32> = (-1..=9).filter(|value| hides_vip(*value, false)).collect();
        assert_eq!(hiding, [1, 2, 8]);
        assert!(hides_vip(3, true) && !hides_vip(0, true) && !hides_vip(4, true));
        let quiet: Vec<i32> = (-1..=9).filter(|value| keeps_vip_out(*value)).collect();
        assert_eq!(quiet, [2]);
    }

    #[test]
    fn a_key_is_written_as_sysctl_reads_it() {
        let key = Key::new("eth0", Setting::ArpIgnore);
        assert_eq!(key.command(1), "sysctl -w net.ipv4.conf.eth0.arp_ignore=1");
        let vlan = Key::new("eth0.100", Setting::ArpAnnounce);
        assert_eq!(
            vlan.command(2),
            "sysctl -w net/ipv4/conf/eth0.100/arp_announce=2"
        );
        assert_eq!("eth0.100/arp_announce".parse(), Ok(vlan));
        for wrong in [
            "",
            "/",
            "all",
            "all/ip_forward",
            "../arp_ignore",
            "/arp_ignore",
            "a/b/arp_ignore",
        ] {
            assert!(wrong.parse::<Key>().is_err(), "{wrong:?}");
        }
    }
}
