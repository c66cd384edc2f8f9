//! The tree that the package unpacks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{files, man};
use crate::tools;

/// Folder of the names under which the binary is ipvsadm. Not in PATH: Debian's ipvsadm has those names there.
const LINKS: &str = "usr/lib/dirigo/bin";

/// Makes the tree under `root`.
pub fn make(binary: &Path, root: &Path, version: &str) -> Result<()> {
    let packed = root.join("usr/sbin/dirigo");
    put(binary, &packed, 0o755)?;
    let strip = ["--strip-all", "--remove-section=.comment"];
    tools::run(Command::new("strip").args(strip).arg(&packed))?;
    links(root)?;
    for name in ["dirigo.service", "dirigo@.service"] {
        let unit = root.join("usr/lib/systemd/system").join(name);
        put(&files().join(name), &unit, 0o644)?;
    }
    for kind in ["sysusers", "tmpfiles"] {
        let from = files().join(format!("dirigo.{kind}"));
        put(
            &from,
            &root.join(format!("usr/lib/{kind}.d/dirigo.conf")),
            0o644,
        )?;
    }
    folder(&root.join("etc/dirigo/conf.d"))?;
    pages(binary, root)?;
    completions(binary, root)?;
    documents(root, version)
}

fn links(root: &Path) -> Result<()> {
    folder(&root.join(LINKS))?;
    for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
        symlink("../../../sbin/dirigo", root.join(LINKS).join(name))?;
    }
    Ok(())
}

fn pages(binary: &Path, root: &Path) -> Result<()> {
    let (commands, formats) = (
        root.join("usr/share/man/man8"),
        root.join("usr/share/man/man5"),
    );
    folder(&commands)?;
    folder(&formats)?;
    tools::output(Command::new(binary).arg("man").arg(&commands))?;
    let text = fs::read_to_string(tools::root().join("docs/config.md"))?;
    fs::write(formats.join("dirigo.toml.5"), man::page(&text))?;
    for folder in [commands, formats] {
        for page in fs::read_dir(&folder)? {
            compress(&page?.path())?;
        }
    }
    Ok(())
}

fn completions(binary: &Path, root: &Path) -> Result<()> {
    for (shell, file) in [
        ("bash", "bash-completion/completions/dirigo"),
        ("zsh", "zsh/vendor-completions/_dirigo"),
        ("fish", "fish/vendor_completions.d/dirigo.fish"),
    ] {
        let text = tools::output(Command::new(binary).args(["completions", shell]))?;
        write(&root.join("usr/share").join(file), &text)?;
    }
    Ok(())
}

fn documents(root: &Path, version: &str) -> Result<()> {
    let documents = root.join("usr/share/doc/dirigo");
    put(
        &files().join("deb/copyright"),
        &documents.join("copyright"),
        0o644,
    )?;
    let changelog = documents.join("changelog");
    put(&tools::root().join("CHANGELOG.md"), &changelog, 0o644)?;
    compress(&changelog)?;
    let debian = documents.join("changelog.Debian");
    let text = fs::read_to_string(files().join("deb/changelog"))?;
    let (_, after) = text
        .split_once(')')
        .context("a changelog without a version")?;
    write(&debian, &format!("dirigo ({version}){after}"))?;
    compress(&debian)?;
    // Beside each other as in docs/, because the examples name the schema from where they are.
    let docs = tools::root().join("docs");
    let schema = "dirigo.schema.json";
    put(&docs.join(schema), &documents.join(schema), 0o644)?;
    put_all(&docs.join("examples"), &documents.join("examples"))
}

/// A folder with all that is in it.
fn put_all(from: &Path, to: &Path) -> Result<()> {
    for one in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let (from, to) = (from.join(one?.file_name()), to);
        let to = to.join(from.file_name().context("a file without a name")?);
        match from.is_dir() {
            true => put_all(&from, &to)?,
            false => put(&from, &to, 0o644)?,
        }
    }
    Ok(())
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        folder(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn write(to: &Path, text: &str) -> Result<()> {
    if let Some(parent) = to.parent() {
        folder(parent)?;
    }
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o644))?)
}

/// Makes folders that everybody may look into, whatever the caller's mask.
fn folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    fs::create_dir(path).with_context(|| format!("making {}", path.display()))?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// Without name and time, so that the same input makes the same package.
fn compress(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    tools::run(Command::new("gzip").args(["-9", "--no-name"]).arg(path))
}
