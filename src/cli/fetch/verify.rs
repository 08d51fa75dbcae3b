//! `esr fetch --verify`: everything that is here, checked again without the network.

use super::screen::Screen;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::fetch::acquire::{AcquireError, Watch};
use crate::fetch::check::{self, CheckError};
use crate::fetch::record::Record;
use crate::fetch::store::{self, State, Store};
use crate::manifest::datasets::{Dataset, Datasets};

pub(super) fn verify(
    list: &Datasets,
    datasets: &[&Dataset],
    store: &Store,
    screen: &Screen,
) -> Result<(), CliError> {
    let mut wrong = Vec::new();
    for dataset in datasets {
        let folder = store.folder(&dataset.folder)?;
        if matches!(store::state(&folder)?, State::Absent) {
            output::result(&format!("{}  not here", dataset.name))?;
            continue;
        }
        let record = Record::read(store.root(), &dataset.name).map_err(AcquireError::from)?;
        let bar = screen.task(&format!("check {}", dataset.folder));
        let found = check::deep(dataset, &folder, record.as_ref(), &*bar);
        drop(bar);
        screen.stop_if_asked()?;
        match found {
            Ok(checked) => output::result(&format!("{}  {}", dataset.name, checked.verdict))?,
            Err(error) => {
                output::result(&format!("{}  NOT SOUND", dataset.name))?;
                let advice = match error {
                    CheckError::Unsound { .. } => format!("; `esr fetch --repair {}` fetches only what is wrong", dataset.name),
                    CheckError::Folder(_) => String::new(),
                };
                wrong.push(format!("{error}{advice}"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(CliError::data(wrong.join("\n"))),
    }
}
