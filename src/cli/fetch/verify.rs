//! `esr fetch --verify`: everything that is here, checked again without the network.

use super::screen::Screen;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::fetch::acquire::{AcquireError, Watch};
use crate::fetch::check::{self, CheckError, Verdict};
use crate::fetch::http::watch;
use crate::fetch::pairs::{self, Finding, Sample, Wanted};
use crate::fetch::record::Record;
use crate::fetch::store::{self, State, Store};
use crate::manifest::datasets::{Dataset, Datasets, Role};

/// Checks what is here of `datasets`; what is not is only told if they were `asked` for by name.
pub(super) fn verify(
    list: &Datasets,
    datasets: &[&Dataset],
    store: &Store,
    screen: &Screen,
    asked: bool,
) -> Result<(), CliError> {
    let verifying = Verifying { list, store, screen };
    let (mut wrong, mut here) = (Vec::new(), 0);
    for dataset in datasets {
        let folder = store.folder(&dataset.folder)?;
        if matches!(store::state(&folder)?, State::Absent) {
            if asked {
                output::result(&format!("{}  not here", dataset.name))?;
            }
            continue;
        }
        here += 1;
        let record = Record::read(store.root(), &dataset.name).map_err(AcquireError::from)?;
        let bar = screen.task(&format!("check {}", dataset.folder));
        let found = check::deep(dataset, &folder, record.as_ref(), &*bar);
        drop(bar);
        screen.stop_if_asked()?;
        let problem = match found {
            Ok(checked) => {
                output::result(&format!("{}  {}", dataset.name, checked.verdict))?;
                verifying.pairs(dataset, &checked.verdict, record)?
            }
            Err(error) => {
                output::result(&format!("{}  NOT SOUND", dataset.name))?;
                let advice = match error {
                    CheckError::Unsound { .. } => {
                        format!("; `esr fetch --repair {}` fetches only what is wrong", dataset.name)
                    }
                    CheckError::Folder(_) => String::new(),
                };
                Some(format!("{error}{advice}"))
            }
        };
        wrong.extend(problem);
    }
    if here == 0 && !asked {
        output::result(&format!(
            "nothing is here: `{}` holds none of the listed datasets",
            store.root().display()
        ))?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(CliError::data(wrong.join("\n"))),
    }
}

struct Verifying<'a> {
    list: &'a Datasets,
    store: &'a Store,
    screen: &'a Screen,
}

impl Verifying<'_> {
    /// Compares LR images with their HR images, if both are here, and remembers what came of it. What is wrong is the result.
    fn pairs(
        &self,
        lr: &Dataset,
        verdict: &Verdict,
        record: Option<Record>,
    ) -> Result<Option<String>, CliError> {
        let Role::Lr { scale, hr: Some(hr) } = &lr.role else { return Ok(None) };
        let Some(hr) = self.list.dataset(hr) else { return Ok(None) };
        let (lr_folder, hr_folder) = (self.store.folder(&lr.folder)?, self.store.folder(&hr.folder)?);
        if !matches!(store::state(&hr_folder)?, State::Complete(_) | State::Foreign) {
            output::result(&format!(
                "{:width$}  not compared with {}, which is not here",
                "",
                hr.name,
                width = lr.name.len()
            ))?;
            return Ok(None);
        }
        // Nobody can know better than the published hash how the images were made: where one vouches for them, what they are is only stated.
        let wanted = Wanted { scale: *scale, sample: Sample::default(), is_bicubic: !verdict.is_verified() };
        let bar = self.screen.task(&format!("compare {} with {}", lr.folder, hr.folder));
        let found = pairs::inspect(&lr_folder, &hr_folder, wanted, &watch(&*bar));
        drop(bar);
        self.screen.stop_if_asked()?;
        match found {
            Ok(finding) => {
                output::result(&format!(
                    "{:width$}  with {}: {finding}",
                    "",
                    hr.name,
                    width = lr.name.len()
                ))?;
                self.remember(record, finding);
                Ok(None)
            }
            Err(error) => {
                output::result(&format!(
                    "{:width$}  with {}: NOT SOUND",
                    "",
                    hr.name,
                    width = lr.name.len()
                ))?;
                Ok(Some(error.to_string()))
            }
        }
    }

    fn remember(&self, record: Option<Record>, finding: Finding) {
        let Some(record) = record else { return };
        let name = record.dataset.clone();
        if record.pairs.as_ref() == Some(&finding) {
            return;
        }
        if let Err(error) = (Record { pairs: Some(finding), ..record }).write(self.store.root()) {
            // What was found stands all the same.
            self.screen.note(&format!("note: what {name} is cannot be remembered: {error}"));
        }
    }
}
