//! What dpkg reads: the control file, the maintainer's scripts, the sums.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::files;
use crate::tools;

/// Writes `DEBIAN/` into the tree; `scratch` is a folder for what dpkg's tools want to see.
pub fn write(root: &Path, scratch: &Path, version: &str) -> Result<()> {
    let debian = root.join("DEBIAN");
    fs::create_dir(&debian)?;
    fs::set_permissions(&debian, fs::Permissions::from_mode(0o755))?;
    let text = format!(
        "Package: dirigo\nVersion: {version}\nArchitecture: {}\nSection: net\nPriority: optional\n\
         Maintainer: The Dirigo contributors <packages@dirigo.invalid>\nInstalled-Size: {}\n\
         Depends: {}, init-system-helpers (>= 1.54), passwd\nRecommends: iproute2\n\
         Description: LVS director on XDP, direct routing\n \
         Distributes TCP, UDP and SCTP connections of clients over real servers, as the\n \
         Linux virtual server does by direct routing, in the network driver instead of\n \
         the kernel's stack. Comes with health checks on the true path, with ipvsadm's\n \
         grammar and output, and with the experiment in network namespaces.\n",
        architecture()?,
        size_kib(root)?,
        libraries(root, scratch)?,
    );
    fs::write(debian.join("control"), text)?;
    for script in ["postinst", "prerm", "postrm"] {
        let to = debian.join(script);
        fs::copy(files().join("deb").join(script), &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    sums(root, &debian)
}

/// As dpkg names this machine's.
pub fn architecture() -> Result<String> {
    let text = tools::output(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(text.trim().to_owned())
}

/// The packages whose libraries the binary wants.
fn libraries(root: &Path, scratch: &Path) -> Result<String> {
    let source = scratch.join("debian");
    fs::create_dir(&source)?;
    fs::write(
        source.join("control"),
        "Source: dirigo\n\nPackage: dirigo\nArchitecture: any\n",
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.args(["-O", "-e"]).arg(root.join("usr/sbin/dirigo"));
    let text = tools::output(command.current_dir(scratch))?;
    let depends = text.trim().strip_prefix("shlibs:Depends=");
    Ok(depends
        .context("dpkg-shlibdeps names no package")?
        .to_owned())
}

fn size_kib(root: &Path) -> Result<u64> {
    let text = tools::output(
        Command::new("du")
            .args(["-sk", "--apparent-size"])
            .arg(root),
    )?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().context("du says no size")
}

fn sums(root: &Path, debian: &Path) -> Result<()> {
    let script =
        "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' | sort -z | xargs -0 md5sum";
    let text = tools::output(Command::new("sh").args(["-ec", script]).current_dir(root))?;
    let path = debian.join("md5sums");
    fs::write(&path, text)?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o644),
    )?)
}
