//! `podgate matrix`.

use std::process::ExitCode;

use clap::Args;
use podgate_judge::matrix::{self, Matrix, Row, ServiceRow};
use serde::Serialize;

use super::NOTHING_JUDGED;
use super::input::{Files, PartiesArgs, PortChoiceArgs, several};
use super::output::{Format, print, print_json_list};
use super::progress::Progress;

/// Show which pods reach which
///
/// Judges every pair of pods in the files, on the given ports or on every container port of each destination. Pods with
/// the same connections are shown as one: those of a workload, or with the same labels, that no policy tells apart.
/// Needs no cluster and no root. Exit status: 0, 2 when the input is invalid, 3 when there was nothing to judge.
#[derive(Args, Debug)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    ports: PortChoiceArgs,

    #[command(flatten)]
    parties: PartiesArgs,

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
struct RowView {
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_pods: Option<usize>,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_pods: Option<usize>,
    protocol: &'static str,
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
        let progress = Progress::new();
        let cluster = self.files.load(&progress)?;
        let choice = self.ports.choice();
        let matrix = Matrix::new(&cluster, &choice, &mut progress.judging_pairs());
        let matrix = self.parties.choice().of(matrix, Matrix::by_pod);
        let services = if self.services {
            progress.doing("judging all pods and Services");
            matrix::services(&cluster, &choice, self.parties.choice())
        } else {
            Vec::new()
        };
        drop(progress);
        self.print(&matrix, &services)?;
        if matrix.rows().next().is_none() && services.is_empty() {
            eprintln!("warning: nothing was judged: there are no two pods, or no ports; add pods, or give --port");
            return Ok(ExitCode::from(NOTHING_JUDGED));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, matrix: &Matrix<'_>, services: &[ServiceRow]) -> anyhow::Result<()> {
        if self.output == Format::Json {
            return print_json_list(matrix.rows().map(|row| view(&row)).chain(services.iter().map(service_view)));
        }
        let rows: Vec<_> = matrix.rows().collect();
        let text = matrix::render(&rows);
        let text = if services.is_empty() { text } else { format!("{text}\n{}", matrix::render_services(services)) };
        Ok(print(&text)?)
    }
}

fn view(row: &Row) -> RowView {
    RowView {
        from: row.from.name.to_string(),
        from_pods: several(&row.from),
        to: row.to.name.to_string(),
        to_pods: several(&row.to),
        protocol: row.protocol.as_str(),
        port: row.port,
        allowed: row.allowed,
        service: None,
    }
}

fn service_view(row: &ServiceRow) -> RowView {
    RowView {
        from: row.from.name.to_string(),
        from_pods: several(&row.from),
        to_pods: None,
        to: format!("svc {}", row.service),
        protocol: row.protocol.as_str(),
        port: row.port,
        allowed: row.is_allowed(),
        service: Some(ServiceView { service: true, backends_allowed: row.allowed, backends: row.backends }),
    }
}
