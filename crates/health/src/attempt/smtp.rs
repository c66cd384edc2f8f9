//! A mail server: greeting, HELO, QUIT, as keepalived.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::socket::{Connection, Ends};
use crate::check::Smtp;
use crate::limits;
use crate::reason::Reason;

pub(super) async fn ask(smtp: &Smtp, ends: &Ends<'_>) -> Result<(), Reason> {
    let mut connection = BufReader::new(ends.connect().await?);
    ends.set_stage("waiting for the greeting");
    expect(&mut connection, "220", ends).await?;
    ends.set_stage("saying HELO");
    say(&mut connection, &format!("HELO {}\r\n", smtp.helo), ends).await?;
    expect(&mut connection, "250", ends).await?;
    ends.set_stage("saying QUIT");
    say(&mut connection, "QUIT\r\n", ends).await?;
    expect(&mut connection, "221", ends).await
}

async fn say(
    connection: &mut BufReader<Connection>,
    words: &str,
    ends: &Ends<'_>,
) -> Result<(), Reason> {
    let said = connection.write_all(words.as_bytes()).await;
    said.map_err(|error| ends.failed(&error))
}

/// Reads an answer of any number of lines, of which each begins with the code.
async fn expect(
    connection: &mut BufReader<Connection>,
    code: &str,
    ends: &Ends<'_>,
) -> Result<(), Reason> {
    for _ in 0..limits::LINES {
        let line = line(connection, ends).await?;
        if !line.starts_with(code) {
            return Err(unexpected(line.trim_end(), code));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
    Err(unexpected("an answer that does not end", code))
}

/// One line, at most [`limits::LINE_BYTES`] of it.
pub(super) async fn line(
    connection: &mut BufReader<Connection>,
    ends: &Ends<'_>,
) -> Result<String, Reason> {
    let mut line = Vec::new();
    let mut bounded = connection.take(limits::LINE_BYTES as u64);
    let read = bounded.read_until(b'\n', &mut line).await;
    read.map_err(|error| ends.failed(&error))?;
    if line.is_empty() {
        return Err(Reason::Closed {
            stage: ends.stage(),
        });
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn unexpected(found: &str, wanted: &str) -> Reason {
    Reason::Answer {
        protocol: "SMTP",
        found: format!("{found:?}"),
        wanted: wanted.to_owned(),
    }
}
