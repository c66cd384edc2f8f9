//! The package of the binary just built: what lintian says, whether it installs and runs on a new Debian, and whether
//! an upgrade of it loses packets.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::report::{Outcome, Report};
use crate::{package, tools};

/// The oldest Debian that we are for. A newer one has newer libraries, which take the same binary.
const SUITE: &str = "bookworm";

/// Where Debian comes from, unless `DIRIGO_MIRROR` names another place.
const MIRROR: &str = "http://deb.debian.org/debian";

/// Tools, and the Debian packages they are in.
const TOOLS: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("lintian", "lintian"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("systemd-analyze", "systemd"),
];

/// Makes the package, has lintian look at it, and installs it in a new root.
pub fn run(_report: &mut Report) -> Result<Outcome> {
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|(tool, _)| tools::find(tool).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        let how = format!("apt install {}", missing.join(" "));
        return Ok(Outcome::Skipped(how));
    }
    let folder = tempfile::tempdir().context("making a folder")?;
    // The ladder has built this one; a release would take minutes and show no more.
    let binary = package::build("dev")?;
    let deb = package::make(&binary, folder.path(), "")?;
    let lint = [
        "--fail-on",
        "error",
        "--suppress-tags",
        "initial-upload-closes-no-bugs",
    ];
    tools::run(
        Command::new("lintian")
            .args(lint)
            .arg("--allow-root")
            .arg(&deb),
    )
    .context("lintian found an error")?;
    let root = folder.path().join("root");
    let seen = install(&root, &deb).and_then(|seen| {
        upgrade(&root, &deb).context("upgrading")?;
        Ok(seen)
    });
    // It is root's, so the folder's owner may not remove it.
    tools::run(tools::as_root("rm").arg("-rf").arg(&root))?;
    seen.map(Outcome::Passed)
}

fn install(root: &Path, deb: &Path) -> Result<String> {
    let mirror = std::env::var("DIRIGO_MIRROR").unwrap_or_else(|_| MIRROR.to_owned());
    let mut bootstrap = tools::as_root("debootstrap");
    bootstrap
        .args(["--variant=minbase", SUITE])
        .arg(root)
        .arg(mirror);
    tools::output(&mut bootstrap).context("making a new Debian")?;
    let inside = |words: &[&str]| {
        let mut command = tools::as_root("chroot");
        tools::output(command.arg(root).args(words))
    };
    tools::run(tools::as_root("cp").arg(deb).arg(root.join("dirigo.deb")))?;
    inside(&["dpkg", "--install", "/dirigo.deb"]).context("installing")?;
    let version = inside(&["dirigo", "--version"])?;
    ensure!(
        version.trim() == format!("dirigo {}", env!("CARGO_PKG_VERSION")),
        "it says: {version}"
    );
    for example in ["classic", "web", "names-and-mail", "marks", "site/dirigo"] {
        let file = format!("/usr/share/doc/dirigo/examples/{example}.toml");
        let said = inside(&["dirigo", "check", "-c", &file])?;
        ensure!(said.contains(": ok: "), "it says: {said}");
    }
    inside(&["test", "-s", "/usr/share/doc/dirigo/dirigo.schema.json"])
        .context("the schema is missing")?;
    inside(&["getent", "group", "dirigo"]).context("the group is missing")?;
    inside(&["/usr/lib/dirigo/bin/ipvsadm", "--version"]).context("not ipvsadm by its name")?;
    verify_units(root)?;
    inside(&["dpkg", "--purge", "dirigo"]).context("removing")?;
    for left in ["usr/sbin/dirigo", "etc/dirigo", "usr/lib/dirigo"] {
        ensure!(!root.join(left).exists(), "/{left} is left after a purge");
    }
    Ok(format!(
        "no error of lintian's; installs on {SUITE}, checks, is upgraded while packets flow, and goes again"
    ))
}

/// Another version is installed over it while packets flow: `crates/cli/tests/package.rs`.
fn upgrade(root: &Path, deb: &Path) -> Result<()> {
    let mut test = tools::cargo();
    test.args([
        "test", "--quiet", "--locked", "-p", "dirigo", "--test", "package",
    ]);
    test.env("DIRIGO_PACKAGE", deb).env("DIRIGO_DEBIAN", root);
    tools::run(&mut test)
}

/// systemd's own opinion, of the units as they are but for the program's place.
fn verify_units(root: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let program = root.join("usr/sbin/dirigo").display().to_string();
    for name in ["dirigo.service", "dirigo@.service"] {
        let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system").join(name))?;
        let copy = folder.path().join(name);
        std::fs::write(&copy, unit.replace("/usr/sbin/dirigo", &program))?;
        let mut verify = Command::new("systemd-analyze");
        tools::output(verify.args(["--man=no", "verify"]).arg(copy))
            .with_context(|| format!("{name}: systemd does not take it"))?;
    }
    Ok(())
}
