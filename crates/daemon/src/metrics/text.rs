//! The two text forms of metrics, written as they come.
//!
//! ```text
//! Prometheus 0.0.4      # HELP dirigo_bytes_total …      dirigo_bytes_total 7
//! OpenMetrics 1.0       # HELP dirigo_bytes …            dirigo_bytes_total 7          # EOF
//! ```
//!
//! Of the libraries one writes only the first form (`prometheus`), one only the second
//! (`prometheus-client`), and each from objects that it keeps for every series. Ours are in the maps.

use std::fmt::{Display, Error, Write};

use super::catalogue::{Family, Kind};

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus's own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What the answer says that it is.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a reader asks for by its `Accept`: OpenMetrics if it says so and does not prefer the other.
    pub(crate) fn asked_for(accept: &str) -> Self {
        let wish = |wanted: &str| {
            let all = accept.split(',').map(str::trim);
            let mut all = all.filter(|one| one.split(';').next().map(str::trim) == Some(wanted));
            all.by_ref().map(quality).fold(0.0, f32::max)
        };
        let (open, plain) = (wish("application/openmetrics-text"), wish("text/plain"));
        match open > 0.0 && open >= plain {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }
}

/// How much a media range is wanted, 0 to 1 (RFC 9110, 12.4.2).
fn quality(range: &str) -> f32 {
    let mut parameters = range.split(';').skip(1).map(str::trim);
    let found = parameters.find_map(|parameter| parameter.strip_prefix("q="));
    found.map_or(1.0, |text| text.parse().unwrap_or(0.0))
}

/// Writes metrics one after the other.
pub(crate) struct Page<W> {
    out: W,
    format: Format,
    series: usize,
}

/// What a sample has for labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

impl<W: Write> Page<W> {
    pub(crate) fn new(out: W, format: Format) -> Self {
        Self {
            out,
            format,
            series: 0,
        }
    }

    /// Series so far.
    pub(crate) fn series(&self) -> usize {
        self.series
    }

    /// Begins a metric: what follows are its samples.
    pub(crate) fn family(&mut self, family: &Family) -> Result<(), Error> {
        let open = self.format == Format::OpenMetrics;
        let name = if open { family.name } else { &family.shown() };
        let kind = match family.kind {
            Kind::Info if !open => Kind::Gauge,
            kind => kind,
        };
        writeln!(self.out, "# HELP {name} {}", family.help)?;
        writeln!(self.out, "# TYPE {name} {}", kind.name())?;
        match family.unit.filter(|_| open) {
            Some(unit) => writeln!(self.out, "# UNIT {name} {unit}"),
            None => Ok(()),
        }
    }

    /// A sample of the metric that was begun last.
    pub(crate) fn sample(
        &mut self,
        family: &Family,
        labels: Labels<'_>,
        value: impl Display,
    ) -> Result<(), Error> {
        self.line(family.name, family.kind.suffix(), labels, value)
    }

    /// A metric without labels, whole.
    pub(crate) fn one(&mut self, family: &Family, value: impl Display) -> Result<(), Error> {
        self.family(family)?;
        self.sample(family, &[], value)
    }

    /// A histogram's samples. `buckets` are upper bounds with what is in each alone.
    pub(crate) fn histogram(
        &mut self,
        family: &Family,
        label: (&str, &dyn Display),
        buckets: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) -> Result<(), Error> {
        let mut below = 0;
        for (bound, inside) in buckets {
            below += inside;
            // Both forms want a bound to be written as a float is: 1.0 and not 1.
            let bound = format!("{bound:?}");
            self.line(family.name, "_bucket", &[label, ("le", &bound)], below)?;
        }
        self.line(family.name, "_bucket", &[label, ("le", &"+Inf")], count)?;
        self.line(family.name, "_sum", &[label], sum)?;
        self.line(family.name, "_count", &[label], count)
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: Labels<'_>,
        value: impl Display,
    ) -> Result<(), Error> {
        self.series += 1;
        self.out.write_str(name)?;
        self.out.write_str(suffix)?;
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(self.out, "{before}{label}=\"")?;
            write!(Escaped(&mut self.out), "{text}")?;
            self.out.write_char('"')?;
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(self.out, "{after} {value}")
    }

    /// Ends the page.
    pub(crate) fn end(mut self) -> Result<W, Error> {
        if self.format == Format::OpenMetrics {
            self.out.write_str("# EOF\n")?;
        }
        Ok(self.out)
    }
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

impl Family {
    /// The name of its samples, as queries have it.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

/// Label values: backslash, quotation mark and line feed are escaped.
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> Result<(), Error> {
        for part in text.split_inclusive(['\\', '"', '\n']) {
            let (plain, special) = match part.char_indices().next_back() {
                Some((at, '\\')) => (&part[..at], "\\\\"),
                Some((at, '"')) => (&part[..at], "\\\""),
                Some((at, '\n')) => (&part[..at], "\\n"),
                _ => (part, ""),
            };
            self.0.write_str(plain)?;
            self.0.write_str(special)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue as the;
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(String::new(), format);
        page.one(&the::BYTES, 7).unwrap();
        page.family(&the::SERVICE).unwrap();
        let odd = "a\\b\"c\nd";
        page.sample(
            &the::SERVICE,
            &[("service", &odd), ("origin", &"config")],
            1,
        )
        .unwrap();
        page.family(&the::CHECK_DURATION).unwrap();
        let buckets = [(0.001, 2), (1.0, 3)].into_iter();
        page.histogram(&the::CHECK_DURATION, ("check", &"web"), buckets, (6, 1.5))
            .unwrap();
        page.end().unwrap()
    }

    #[test]
    fn prometheus_text_names_counters_with_their_suffix_and_has_no_end_mark() {
        let text = page(Format::Prometheus);
        assert!(text.contains("# TYPE dirigo_bytes_total counter\ndirigo_bytes_total 7\n"));
        assert!(text.contains("# TYPE dirigo_service_info gauge\n"));
        assert!(
            !text.contains("# UNIT") && !text.contains("# EOF"),
            "{text}"
        );
    }

    #[test]
    fn openmetrics_names_families_without_suffix_says_units_and_ends() {
        let text = page(Format::OpenMetrics);
        let head = "# TYPE dirigo_bytes counter\n# UNIT dirigo_bytes bytes\ndirigo_bytes_total 7\n";
        assert!(text.contains(head), "{text}");
        assert!(text.contains("# TYPE dirigo_service info\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let line = "dirigo_service_info{service=\"a\\\\b\\\"c\\nd\",origin=\"config\"} 1\n";
        assert!(page(Format::Prometheus).contains(line));
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_one_holds_all() {
        let text = page(Format::Prometheus);
        for line in [
            "_bucket{check=\"web\",le=\"0.001\"} 2\n",
            "_bucket{check=\"web\",le=\"1.0\"} 5\n",
            "_bucket{check=\"web\",le=\"+Inf\"} 6\n",
            "_sum{check=\"web\"} 1.5\n",
            "_count{check=\"web\"} 6\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn who_accepts_openmetrics_gets_it_unless_plain_text_is_preferred() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "text/plain, application/openmetrics-text;q=0.3",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("text/html", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("", Format::Prometheus),
        ] {
            assert_eq!(Format::asked_for(accept), format, "{accept}");
        }
    }
}
