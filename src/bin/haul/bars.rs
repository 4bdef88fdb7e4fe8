//! Bars on a terminal, which one thread draws: no transfer waits for a terminal that is stopped.

use std::collections::HashMap;
use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All bars of the command.
pub(crate) struct Bars {
    all: MultiProgress,
    drawn: HashMap<u64, ProgressBar>,
}

/// A change of one bar.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Bytes that have arrived, and the total if that is known.
    Show { bytes: u64, total: Option<u64> },
    /// The bar is taken away.
    End,
}

impl Bars {
    /// Creates the bars of standard error.
    pub(crate) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, drawn: HashMap::new() }
    }

    pub(crate) fn step(&mut self, number: u64, step: Step) {
        match step {
            Step::Show { bytes, total } => {
                let bar = self
                    .drawn
                    .entry(number)
                    .or_insert_with(|| self.all.add(ProgressBar::no_length()).with_style(style()));
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(bytes);
            }
            Step::End => {
                if let Some(bar) = self.drawn.remove(&number) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// Writes between the bars.
    pub(crate) fn aside(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.all.suspend(write)
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
