//! The cost of a trace: for tasks that are not traced, for those that are, and of nsprobe itself.

mod storm;
mod tracer;

use super::facts::Others;
use super::table::{self, figure, float, median, thousands};
use crate::load::{CALLS, work};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};
use storm::Storm;
use tracer::Tracer;

/// The extent of the measurement.
pub struct Plan<'a> {
    /// Number of measurements of the cost of calls, with each tracer and without.
    pub rounds: usize,
    /// Duration of a storm.
    pub storm: Duration,
    /// Its events per second; a storm without a limit is added.
    pub rates: &'a [u32],
    /// Duration of the idle phase.
    pub idle: Duration,
    /// Duration of the churn of programs.
    pub churn: Duration,
}

/// Measures everything; returns Markdown.
pub fn measure(nsprobe: &Path, plan: &Plan) -> Result<(Vec<String>, String)> {
    let dir = Scratch::new()?;
    let others = Others::watch()?;
    let costs = costs(&tracer::all(nsprobe)?, &dir.0, plan.rounds)?;
    let mut storms = Vec::new();
    for rate in plan.rates.iter().copied().map(Some).chain([None]) {
        eprintln!("bench: trace: storm of {rate:?} events a second");
        storms.push(storm::storm(nsprobe, &dir.0, plan.storm, rate)?);
    }
    let others = others.share()? * 100.0;
    eprintln!("bench: trace: idle");
    let idle = storm::idle(nsprobe, plan.idle)? * 100.0;
    eprintln!("bench: trace: programs start and end for {:?}", plan.churn);
    let churn = storm::churn(nsprobe, &dir.0, plan.churn)?;
    let (first, last) = (float(churn.memory.0) / 1024.0, float(churn.memory.1) / 1024.0);
    let text = format!(
        "### Cost of calls\n\n{}\nOthers took {others:.0} % of the processors' time.\n\n\
         ### A storm of setns\n\n{}\n\
         While idle for {:.0} s, nsprobe takes {idle:.3} % of a processor.\n\n\
         While {} programs create four namespaces each and end, within {:.0} s, it has {first:.1} MB of memory in \
         the first fifth of that time and {last:.1} MB in the last.\n",
        costs_table(&costs),
        storms_table(&storms),
        plan.idle.as_secs_f64(),
        thousands(churn.programs),
        plan.churn.as_secs_f64(),
    );
    Ok((tracer::versions(), text))
}

/// The cost of calls with a tracer.
struct Cost {
    tracer: String,
    /// Nanoseconds of each call, by round: with the tracer, and right before without; or why there are none.
    rounds: Result<Vec<[(f64, f64); CALLS.len()]>, String>,
}

fn costs(tracers: &[Tracer], dir: &Path, rounds: usize) -> Result<Vec<Cost>> {
    let mut costs: Vec<Cost> =
        tracers.iter().map(|tracer| Cost { tracer: tracer.name.clone(), rounds: Ok(Vec::new()) }).collect();
    for round in 0..rounds {
        for (tracer, cost) in tracers.iter().zip(&mut costs) {
            let Ok(measured) = &mut cost.rounds else { continue };
            eprintln!("bench: trace: round {} of {rounds}: {}", round + 1, tracer.name);
            let without = calls(&mut command(&work(&["calls".to_owned()])?))?;
            match with(tracer, dir) {
                Ok(with) => measured.push(std::array::from_fn(|call| (with[call], without[call]))),
                Err(error) => cost.rounds = Err(format!("{error:#}")),
            }
        }
    }
    Ok(costs)
}

fn command(line: &[String]) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

/// The cost of calls while `tracer` runs, which must have seen some.
fn with(tracer: &Tracer, dir: &Path) -> Result<[f64; CALLS.len()]> {
    let running = tracer.start(dir)?;
    let costs = calls(&mut tracer.around(&work(&["calls".to_owned()])?))?;
    ensure!(running.end()? != 1, "it has seen nothing");
    Ok(costs)
}

fn calls(command: &mut Command) -> Result<[f64; CALLS.len()]> {
    let output = xtask::checkout::output(command)?;
    let report = String::from_utf8(output.stdout)?;
    let costs = report.lines().zip(CALLS).map(|(line, call)| line.strip_prefix(call)?.trim().parse().ok());
    let costs: Option<Vec<f64>> = costs.collect();
    costs.and_then(|costs| costs.try_into().ok()).with_context(|| format!("not the costs of calls: {report}"))
}

fn costs_table(costs: &[Cost]) -> String {
    let mut head = vec!["with".to_owned()];
    for call in CALLS {
        head.extend([format!("{call} ns"), "×".to_owned()]);
    }
    let mut lines = vec![head];
    let mut missing = Vec::new();
    let nothing = |call: usize| {
        let rounds = costs.iter().filter_map(|cost| cost.rounds.as_ref().ok()).flatten();
        median(&mut rounds.map(|round| round[call].1).collect::<Vec<_>>())
    };
    let mut line = vec!["nothing".to_owned()];
    line.extend((0..CALLS.len()).flat_map(|call| [figure(nothing(call)), figure(Some(1.0))]));
    lines.push(line);
    for Cost { tracer, rounds } in costs {
        let mut line = vec![tracer.clone()];
        match rounds {
            Ok(rounds) => line.extend((0..CALLS.len()).flat_map(|call| {
                let mut with: Vec<f64> = rounds.iter().map(|round| round[call].0).collect();
                let mut ratios: Vec<f64> = rounds.iter().map(|round| round[call].0 / round[call].1).collect();
                [figure(median(&mut with)), figure(median(&mut ratios))]
            })),
            Err(why) => {
                line.resize(1 + 2 * CALLS.len(), "–".to_owned());
                missing.push(format!("\nNOT MEASURED: {tracer}: {why}\n"));
            }
        }
        lines.push(line);
    }
    format!("{}{}", table::markdown(&lines), missing.concat())
}

fn storms_table(storms: &[Storm]) -> String {
    let head = ["requested", "calls/s", "events/s", "seen", "lost", "MB/s", "peak MB", "processor %"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for storm in storms {
        let seconds = storm.duration.as_secs_f64();
        let rate = |count: u64| thousands(u128::from(count) * 1000 / storm.duration.as_millis().max(1));
        lines.push(vec![
            storm.rate.map_or("all".to_owned(), thousands),
            rate(storm.done),
            rate(storm.seen),
            thousands(storm.seen),
            thousands(storm.lost),
            figure(Some(float(storm.bytes) / 1e6 / seconds)),
            figure(Some(float(storm.memory) / 1024.0)),
            figure(Some(storm.processor.as_secs_f64() / seconds * 100.0)),
        ]);
    }
    table::markdown(&lines)
}

/// A directory for the output of the tracers; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("nsprobe-bench-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
