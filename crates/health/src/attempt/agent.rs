//! A number from the real server: its weight.
//!
//! It sends one line: `75%` of its configured weight, or `12`, the weight itself.

use tokio::io::BufReader;

use super::smtp::line;
use super::socket::Ends;
use crate::limits;
use crate::reason::{Reason, Share};

pub(super) async fn ask(ends: &Ends<'_>) -> Result<Share, Reason> {
    let mut connection = BufReader::new(ends.connect().await?);
    ends.set_stage("waiting for the number");
    let line = line(&mut connection, ends).await?;
    read(line.trim()).ok_or_else(|| Reason::Answer {
        protocol: "agent",
        found: format!("{:?}", line.trim()),
        wanted: "a weight from 0 to 2147483647, or a percentage from 0% to 100%".to_owned(),
    })
}

fn read(line: &str) -> Option<Share> {
    match line.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.trim_end().parse().ok();
            percent
                .filter(|percent| *percent <= 100)
                .map(Share::Percent)
        }
        None => {
            let weight = line.parse().ok();
            weight
                .filter(|weight| *weight <= limits::WEIGHT_MAX)
                .map(Share::Weight)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_weight_or_a_percentage() {
        assert_eq!(read("75%"), Some(Share::Percent(75)));
        assert_eq!(read("12"), Some(Share::Weight(12)));
        assert_eq!(read("0"), Some(Share::Weight(0)));
        for none in ["", "101%", "-1", "2147483648", "up", "%", "1 2"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
