//! What was measured, as a table and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// One figure of one round, and what it is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// In the measure's unit.
    pub(super) figure: f64,
    /// In the same unit, measured in the same round.
    pub(super) reference: f64,
    pub(super) cost: Cost,
}

/// What the daemon took for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// The most resident memory that it ever had, in bytes.
    pub(super) peak_memory: usize,
    /// Seconds of CPU, for so many notifications.
    pub(super) cpu_seconds: f64,
    pub(super) notifications: usize,
}

/// What is asked of a measure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The ratio of figure to reference.
    AtLeast(f64),
    /// The figure itself.
    FigureAtLeast(f64),
    FigureAtMost(f64),
}

#[derive(Clone, Debug)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// What the reference is.
    pub(super) against: &'static str,
    pub(super) target: Target,
    pub(super) samples: Vec<Sample>,
}

/// The median, the least and the largest.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }

    fn text(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

impl Measure {
    fn figure(&self) -> Spread {
        Spread::of(self.samples.iter().map(|sample| sample.figure))
    }

    fn reference(&self) -> Spread {
        Spread::of(self.samples.iter().map(|sample| sample.reference))
    }

    fn ratio(&self) -> Spread {
        Spread::of(self.samples.iter().map(|sample| sample.figure / sample.reference))
    }

    fn is_met(&self) -> bool {
        match self.target {
            Target::AtLeast(ratio) => self.ratio().median >= ratio,
            Target::FigureAtLeast(figure) => self.figure().median >= figure,
            Target::FigureAtMost(figure) => self.figure().median <= figure,
        }
    }

    fn is_a_ratio(&self) -> bool {
        matches!(self.target, Target::AtLeast(_))
    }

    fn cpu_per_million(&self) -> Option<f64> {
        let per_million = |cost: Cost| cost.cpu_seconds / cost.notifications as f64 * 1e6;
        let costs = self.samples.iter().filter(|sample| sample.cost.notifications > 0);
        let costs: Vec<f64> = costs.map(|sample| per_million(sample.cost)).collect();
        (!costs.is_empty()).then(|| Spread::of(costs.into_iter()).median)
    }

    fn peak_memory(&self) -> usize {
        self.samples.iter().map(|sample| sample.cost.peak_memory).max().unwrap_or_default()
    }

    fn row(&self) -> String {
        let digits = if self.figure().median < 100.0 { 2 } else { 0 };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let reference = format!("{} {:.digits$}", self.against, self.reference().median);
        let target = match self.target {
            Target::AtLeast(ratio) => format!("≥ {ratio}"),
            Target::FigureAtLeast(figure) => format!("≥ {figure} {}", self.unit),
            Target::FigureAtMost(figure) => format!("≤ {figure} {}", self.unit),
        };
        let cells = [
            self.name.to_owned(),
            format!("{} {}", self.figure().text(digits), self.unit),
            or_dash(self.is_a_ratio().then_some(reference)),
            or_dash(self.is_a_ratio().then(|| self.ratio().text(2))),
            target,
            if self.is_met() { "yes" } else { "no" }.to_owned(),
            format!("{:.0}", self.peak_memory() as f64 / 1048576.0),
            or_dash(self.cpu_per_million().map(|seconds| format!("{seconds:.0}"))),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn json(&self) -> Value {
        let ratio = self.is_a_ratio().then(|| (self.reference().json(), self.ratio().json()));
        let (reference, ratio) = ratio.unzip();
        json!({
            "measure": self.name, "unit": self.unit, "figure": self.figure().json(),
            "reference": reference, "against": self.is_a_ratio().then_some(self.against), "ratio": ratio,
            "target": format!("{:?}", self.target), "met": self.is_met(), "rounds": self.samples.len(),
            "peak_memory_bytes": self.peak_memory(), "cpu_seconds_per_million": self.cpu_per_million(),
        })
    }
}

/// A Markdown table.
pub(super) fn table(measures: &[Measure]) -> String {
    let mut text = "| measure | figure | reference | ratio | target | met | peak MiB | CPU s per million |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for measure in measures {
        writeln!(text, "{}", measure.row()).expect("a string takes all");
    }
    text
}

/// Both forms, below this directory.
pub(super) fn write(directory: &Path, measures: &[Measure]) {
    std::fs::create_dir_all(directory).expect("the directory is made");
    let json = Value::Array(measures.iter().map(Measure::json).collect());
    std::fs::write(directory.join("results.json"), format!("{json:#}\n")).expect("the results are written");
    std::fs::write(directory.join("results.md"), table(measures)).expect("the results are written");
}
