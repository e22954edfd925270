//! `podgate matrix`.

use std::process::ExitCode;

use clap::Args;
use podgate_judge::matrix::{self, Row, ServiceRow};
use serde::Serialize;

use super::input::{Files, PortChoiceArgs};
use super::output::{Format, print, print_json_list};
use super::progress::Progress;

/// Show which pods reach which
///
/// Judges every pair of pods in the files, on the given ports or on every container port of each destination. Needs no
/// cluster and no root. Exit status: 0, or 2 when the input is invalid.
#[derive(Args, Debug)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    ports: PortChoiceArgs,

    /// Show also who reaches which port of which Service, at how many of its backends
    ///
    /// With --port: the Services' ports among the given ones. Headless Services have only their pods' own ports.
    #[arg(long)]
    services: bool,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

/// One element of the JSON output.
#[derive(Serialize)]
struct RowView<'a> {
    from: String,
    to: String,
    protocol: &'a str,
    port: u16,
    allowed: bool,
    #[serde(flatten)]
    service: Option<ServiceView>,
}

/// What an element about a Service has beside the others.
#[derive(Serialize)]
struct ServiceView {
    service: bool,
    backends_allowed: usize,
    backends: usize,
}

impl MatrixArgs {
    /// Prints the matrix.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let (rows, services) = self.judge()?;
        match self.output {
            Format::Text if services.is_empty() => print(&matrix::render(&rows))?,
            Format::Text => print(&format!("{}\n{}", matrix::render(&rows), matrix::render_services(&services)))?,
            Format::Json => {
                print_json_list(rows.iter().map(view).chain(services.iter().map(service_view)))?;
            }
        }
        if rows.is_empty() && services.is_empty() {
            eprintln!("warning: nothing was judged: there are no two pods, or no ports; add pods, or give --port");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn judge(&self) -> anyhow::Result<(Vec<Row>, Vec<ServiceRow>)> {
        let progress = Progress::new();
        let cluster = self.files.load(&progress)?;
        let choice = self.ports.choice();
        let rows = matrix::matrix_telling(&cluster, &choice, &mut progress.judging_pairs());
        if !self.services {
            return Ok((rows, Vec::new()));
        }
        progress.doing("judging all pods and Services");
        Ok((rows, matrix::services(&cluster, &choice)))
    }
}

fn view(row: &Row) -> RowView<'_> {
    RowView {
        from: row.from.to_string(),
        to: row.to.to_string(),
        protocol: row.protocol.as_str(),
        port: row.port,
        allowed: row.allowed,
        service: None,
    }
}

fn service_view(row: &ServiceRow) -> RowView<'_> {
    RowView {
        from: row.from.to_string(),
        to: format!("svc {}", row.service),
        protocol: row.protocol.as_str(),
        port: row.port,
        allowed: row.is_allowed(),
        service: Some(ServiceView { service: true, backends_allowed: row.allowed, backends: row.backends }),
    }
}
