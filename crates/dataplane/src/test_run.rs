//! The program run by `BPF_PROG_TEST_RUN`: one frame in, the verdict and the frame out.

use aya::TestRun;
use aya::programs::{TestRunOptions, Xdp};

use crate::error::Error;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action: 1 drop, 2 pass, 3 transmit, 4 redirect.
    pub action: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// Offset of `ingress_ifindex` in `struct xdp_md`, and the size of the struct.
const INGRESS_OFFSET: usize = 12;
const XDP_MD_BYTES: usize = 24;

/// Room for the longest frame that can come out.
const FRAME_BYTES: usize = 16 * 1024;

/// Runs the program once on `frame`, as if it had come in by interface `ingress` of the calling thread's
/// namespace.
pub(crate) fn once(program: &mut Xdp, ingress: u32, frame: &[u8]) -> Result<Outcome, Error> {
    let mut context = [0; XDP_MD_BYTES];
    // data_end says how long the packet is; data and data_meta stay 0.
    context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    context[INGRESS_OFFSET..INGRESS_OFFSET + 4].copy_from_slice(&ingress.to_ne_bytes());
    let mut out = vec![0; FRAME_BYTES];
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    })?;
    out.truncate(result.data_size_out as usize);
    Ok(Outcome {
        action: result.return_value,
        frame: out,
    })
}

/// What the kernel made of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Instructions after the kernel's own rewriting.
    pub instructions: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Instructions that the verifier looked at; its limit is a million.
    pub verified_instructions: u32,
}

/// How large the program is.
pub(crate) fn size(program: &Xdp) -> Result<Size, Error> {
    let info = program.info()?;
    Ok(Size {
        instructions: info.size_translated().unwrap_or(0) / 8,
        jited_bytes: info.size_jitted(),
        verified_instructions: info.verified_instruction_count().unwrap_or(0),
    })
}
