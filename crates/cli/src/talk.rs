//! Data to stdout, talk to stderr, to a reader that may have gone.
//!
//! `println!` and `eprintln!` panic when nobody reads any more, as in `dirigo check 2>&1 | head -1`. What
//! was found does not change by that, so the exit code must not either.

/// A line of data, to stdout.
macro_rules! data {
    ($($words:tt)*) => {{
        let _nobody_reads = std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($words)*)),
        );
    }};
}

/// A line of talk, to stderr.
macro_rules! talk {
    ($($words:tt)*) => {{
        let _nobody_reads = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", format_args!($($words)*)),
        );
    }};
}
