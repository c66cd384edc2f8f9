//! Plans as people read them.

use std::fmt;

use super::{Action, Plan};
use crate::rotation::Rotation;
use crate::state::Reach;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions
            .iter()
            .try_for_each(|action| writeln!(f, "{action}"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteTimeouts(timeouts) => write!(
                f,
                "timeouts {} {} {} s",
                timeouts.tcp, timeouts.tcpfin, timeouts.udp
            ),
            Self::WriteSettings(settings) => write!(f, "{settings:?}"),
            Self::WriteInterface { slot, index, mac } => {
                write!(f, "interface slot {slot}: index {index}, MAC {}", Mac(mac))
            }
            Self::ClearInterface { slot } => write!(f, "interface slot {slot}: none"),
            Self::WriteDestination {
                id,
                reach,
                service,
                weight,
                upper_threshold,
                lower_threshold,
                is_reopened,
            } => {
                write!(f, "destination {id} of {service}: {reach}, weight {weight}")?;
                match (upper_threshold, lower_threshold) {
                    (0, _) => {}
                    (upper, lower) => write!(f, ", thresholds {upper} and {lower}")?,
                }
                f.write_str(if *is_reopened { ", reopened" } else { "" })
            }
            Self::WithdrawService { key } => write!(f, "withdraw {key}"),
            Self::PublishService {
                key,
                service,
                schedule,
                persistence,
                one_packet,
                share,
                memory: _,
            } => {
                write!(f, "publish {key} as {service}: {schedule}, up to {share} %")?;
                if let Some(persistence) = persistence {
                    write!(f, ", persistent {} s", persistence.timeout_s)?;
                }
                f.write_str(if *one_packet { ", one packet" } else { "" })
            }
            Self::WriteMarks { rules } => write!(f, "{} rules of marks", rules.len()),
            Self::WriteVips {
                addresses,
                everything,
            } => match everything {
                true => f.write_str("look at everything"),
                false => write!(f, "look at {addresses:?}"),
            },
            Self::AddVip { address, interface } => write!(f, "add {address} to {interface}"),
            Self::AnnounceVip { address, interface } => {
                write!(f, "announce {address} on {interface}")
            }
            Self::RemoveVip { address, interface } => {
                write!(f, "remove {address} from {interface}")
            }
            Self::ResetDestination { id } => write!(f, "reset destination {id}"),
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("nothing eligible");
        }
        for segment in &self.segments {
            write!(f, "{:?} to {}, ", segment.destinations, segment.end)?;
        }
        write!(f, "from {}", self.first)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("unresolved"),
            Self::Gone => f.write_str("gone"),
            Self::Local => f.write_str("local"),
            Self::Via { mac, slot } => write!(f, "{} through slot {slot}", Mac(mac)),
        }
    }
}

struct Mac<'a>(&'a [u8; 6]);

impl fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
