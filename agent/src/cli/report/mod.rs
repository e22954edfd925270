//! `podgate report`.

mod data;
mod observed;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use podgate_judge::matrix::Matrix;

use super::NOTHING_JUDGED;
use super::input::{Files, PartiesArgs, PortChoiceArgs};
use super::progress::Progress;

use data::Data;
use observed::Observed;

/// Write one page that shows who reaches whom
///
/// The page is a single file that loads nothing: findings of `podgate check`, who reaches whom as a matrix and as a
/// graph, with filters by namespace and port, which policies isolate which pods, and what agents have dropped. Pods
/// with the same connections are one there: those of a workload, or with the same labels, that no policy tells apart.
/// An invalid policy counts as the agent would take it: without its rules. Exit status: 0, 2 when files can't be read
/// or the page can't be written, 3 when there was nothing to judge.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    ports: PortChoiceArgs,

    #[command(flatten)]
    parties: PartiesArgs,

    /// What agents have dropped: lines of `podgate flows -o json`, of one node or of all; - is standard input
    #[arg(long, value_name = "FILE")]
    flows: Option<PathBuf>,

    /// The page to write
    #[arg(short = 'o', long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

impl ReportArgs {
    /// Writes the page.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let loaded = self.files.load_readable(&progress)?;
        let observed = self.flows.as_deref().map(Observed::read).transpose()?;
        let matrix = Matrix::new(&loaded.cluster, &self.ports.choice(), &mut progress.judging_pairs());
        let matrix = self.parties.choice().of(matrix, Matrix::by_pod);
        progress.doing("putting the page together");
        let data = Data::new(&loaded, &matrix, observed);
        let page = page(&data)?;
        fs::write(&self.output, page).with_context(|| format!("cannot write {}", self.output.display()))?;
        let policies = loaded.cluster.policies.len() + loaded.cluster.cluster_policies.len();
        if loaded.cluster.pods.is_empty() && policies == 0 {
            eprintln!("warning: nothing was judged: there are no pods and no NetworkPolicies in the input");
            return Ok(ExitCode::from(NOTHING_JUDGED));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The page, with everything in it.
fn page(data: &Data) -> anyhow::Result<String> {
    let text = include_str!("page.html")
        .replace("/*STYLE*/", include_str!("page.css"))
        .replace("/*SCRIPT*/", include_str!("page.js"));
    // Names come from files: they must not end the element that holds them. This comes last, since they may hold any mark.
    let json = serde_json::to_string(data)?.replace('<', "\\u003c");
    Ok(text.replacen("/*DATA*/", &json, 1))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use podgate_judge::matrix::PortChoice;
    use podgate_source::manifests::{Loaded, parse};

    use super::*;

    fn page_of(loaded: &Loaded) -> String {
        let matrix = Matrix::new(&loaded.cluster, &PortChoice::ContainerPorts, &mut |_, _| {});
        page(&Data::new(loaded, &matrix, None)).unwrap()
    }

    #[test]
    fn names_can_not_leave_the_data() {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: '</script><b>'}}";
        let loaded = parse(Path::new("</script>.yaml"), text);
        let page = page_of(&loaded);
        assert_eq!(page.matches("</script>").count(), 2, "one for the data, one for the script");
        assert!(page.contains("\\u003c/script>"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page_of(&parse(Path::new("a.yaml"), ""));
        for mark in ["/*STYLE*/", "/*SCRIPT*/", "/*DATA*/", "src=", "href=\"http", "url(", "@import", "fetch("] {
            assert!(!page.contains(mark), "{mark}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}
