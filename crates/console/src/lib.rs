//! The web console: its files, embedded, and the headers that they are served with.
//!
//! ```text
//! GET /                    ─► index.html ─► /console/style.css, /console/app.js ─► the other modules
//! GET /console/<name>      ─► that file, 304 if the browser has it
//!                             every figure and word on it comes from the API: the page itself knows nothing
//! ```
//!
//! The modules are served as they are in `assets/`: there is no build step. You may rely on it: a path that
//! is not in [`FILES`] is answered with nothing, whatever it says; nothing is read at run time; a page takes
//! scripts, styles, figures and pictures from where it came from and from nowhere else ([`POLICY`]).
//!
//! It never opens a socket, and holds no secret: who may see it is no question, what it may ask is the API's.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// What a page may do, which is little: nothing from another place, no script or style inside the page, no
/// frame around it.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer, in lower case. `no-cache` means that the browser asks each time whether the
/// file is still the same: after an upgrade nobody sees old modules beside new ones.
pub const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    ("cache-control", "no-cache"),
];

/// An embedded file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// The path that it is asked for by.
    pub path: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal, $kind:ident, $name:literal;)*) => {
        &[$(File {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../assets/", $name)),
        }),*]
    };
}

/// All there is.
pub const FILES: &[File] = files! {
    "/", HTML, "index.html";
    "/console/style.css", STYLE, "style.css";
    "/console/icon.svg", PICTURE, "icon.svg";
    "/console/app.js", SCRIPT, "app.js";
    "/console/api.js", SCRIPT, "api.js";
    "/console/chart.js", SCRIPT, "chart.js";
    "/console/dom.js", SCRIPT, "dom.js";
    "/console/drain.js", SCRIPT, "drain.js";
    "/console/format.js", SCRIPT, "format.js";
    "/console/model.js", SCRIPT, "model.js";
    "/console/store.js", SCRIPT, "store.js";
    "/console/table.js", SCRIPT, "table.js";
    "/console/views/connections.js", SCRIPT, "views/connections.js";
    "/console/views/events.js", SCRIPT, "views/events.js";
    "/console/views/explain.js", SCRIPT, "views/explain.js";
    "/console/views/segment.js", SCRIPT, "views/segment.js";
    "/console/views/servers.js", SCRIPT, "views/servers.js";
    "/console/views/services.js", SCRIPT, "views/services.js";
    "/console/views/trace.js", SCRIPT, "views/trace.js";
    "/console/vendor/uPlot.esm.js", SCRIPT, "vendor/uPlot.esm.js";
    "/console/vendor/uPlot.min.css", STYLE, "vendor/uPlot.min.css";
    "/console/vendor/LICENSE.uPlot", TEXT, "vendor/LICENSE.uPlot";
};

/// What a request for a file is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The file.
    File(File, &'static str),
    /// The browser has it; the tag is repeated.
    Unchanged(&'static str),
    /// There is none.
    None,
}

/// Answers for a path, as it stands in the request, and what `If-None-Match` says.
#[must_use]
pub fn answer(path: &str, if_none_match: Option<&str>) -> Answer {
    let Some((file, tag)) = FILES.iter().zip(&*TAGS).find(|(file, _)| file.path == path) else {
        return Answer::None;
    };
    match if_none_match.is_some_and(|known| is_among(tag, known)) {
        true => Answer::Unchanged(tag),
        false => Answer::File(*file, tag),
    }
}

/// Entity tags, one for each file.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = FILES.iter();
    files.map(|file| tag(file.bytes)).collect()
});

/// A hash in quotes: of another content it is another.
fn tag(bytes: &[u8]) -> String {
    /// As much of the hash as never repeats by chance.
    const BYTES: usize = 16;
    let hash = Sha256::digest(bytes);
    format!("\"{}\"", HEXLOWER.encode(&hash[..BYTES]))
}

/// Source: RFC 9110, 13.1.2: a list, compared weakly, or `*`.
fn is_among(tag: &str, known: &str) -> bool {
    let mut known = known.split(',').map(str::trim);
    known.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        match answer(path, None) {
            Answer::File(file, _) => file,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(file(path).bytes).unwrap()
    }

    #[test]
    fn every_path_is_answered_once_with_its_type() {
        for (place, one) in FILES.iter().enumerate() {
            assert!(!one.bytes.is_empty(), "{}", one.path);
            let same = FILES.iter().position(|other| other.path == one.path);
            assert_eq!(same, Some(place), "{}", one.path);
        }
        assert_eq!(file("/").kind, HTML);
        assert_eq!(file("/console/app.js").kind, SCRIPT);
    }

    #[test]
    fn what_is_in_the_folder_is_served_and_nothing_else() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let mut found = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path.strip_prefix(&folder).unwrap().to_owned()),
                }
            }
        }
        assert_eq!(found.len(), FILES.len(), "{found:?}");
    }

    #[test]
    fn a_path_that_is_none_of_ours_is_answered_with_nothing() {
        for path in [
            "",
            "//",
            "/console",
            "/console/",
            "/index.html",
            "/console/../console/app.js",
            "/console/..%2f..%2fetc/passwd",
            "/console/%61pp.js",
            "/console/APP.js",
            "/console/app.js/",
            "/etc/passwd",
        ] {
            assert!(matches!(answer(path, None), Answer::None), "{path}");
        }
    }

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let Answer::File(_, tag) = answer("/console/app.js", None) else {
            panic!("no file")
        };
        for known in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = answer("/console/app.js", Some(&known));
            assert!(
                matches!(answer, Answer::Unchanged(same) if same == tag),
                "{known}"
            );
        }
        for other in ["\"x\"", "", &tag[1..]] {
            let answer = answer("/console/app.js", Some(other));
            assert!(matches!(answer, Answer::File(..)), "{other}");
        }
        let Answer::File(_, other) = answer("/console/api.js", None) else {
            panic!("no file")
        };
        assert_ne!(tag, other);
    }

    #[test]
    fn the_page_asks_only_for_what_is_here_and_carries_no_script_of_its_own() {
        let page = text("/");
        for attribute in ["src=\"", "href=\""] {
            for rest in page.split(attribute).skip(1) {
                let link = rest.split('"').next().unwrap();
                if !link.starts_with('#') {
                    file(link);
                }
            }
        }
        for inline in ["<style", "style=\"", "onclick", "onload", "javascript:"] {
            assert!(!page.contains(inline), "{inline}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(
            scripts,
            page.matches("<script type=\"module\" src=\"/console/")
                .count()
        );
    }

    #[test]
    fn modules_import_only_what_is_here() {
        for one in FILES.iter().filter(|one| one.kind == SCRIPT) {
            let base = one.path.rsplit_once('/').unwrap().0;
            let text = std::str::from_utf8(one.bytes).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let name = line.rsplit_once(" \"").map_or("", |(_, name)| name);
                let name = name.trim_end_matches(['"', ';']);
                let path = match name.strip_prefix("../") {
                    Some(rest) => format!("{}/{rest}", base.rsplit_once('/').unwrap().0),
                    None => format!("{base}/{}", name.strip_prefix("./").unwrap_or(name)),
                };
                file(&path);
            }
        }
    }

    #[test]
    fn what_comes_from_the_api_is_text_and_never_markup() {
        let own = FILES.iter().filter(|one| !one.path.contains("/vendor/"));
        for one in own.filter(|one| one.kind == SCRIPT) {
            let text = std::str::from_utf8(one.bytes).unwrap();
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "localStorage.setItem(\"token",
                "document.cookie",
            ] {
                assert!(!text.contains(way), "{}: {way}", one.path);
            }
        }
    }
}
