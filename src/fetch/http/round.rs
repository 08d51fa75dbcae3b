//! One round: from what is held towards the whole file, with one or several streams, until it is there or something fails.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

use reqwest::blocking::Response;

use super::answer::{Answer, Part, Validator};
use super::board::Board;
use super::client::Http;
use super::error::DownloadError;
use super::failure::Failure;
use super::follow::Follower;
use super::options::Options;
use super::partial::Partial;
use super::progress::Progress;
use super::stream::Sink;
use super::trial::Trial;
use crate::fetch::Expected;

/// How often it is looked how much has arrived while the rate of some streams is measured.
const LOOKS: u32 = 8;

/// What all rounds on one URL have in common.
#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) http: &'a Http,
    pub(super) options: &'a Options,
    pub(super) url: &'a str,
    pub(super) expected: &'a Expected,
    pub(super) progress: &'a dyn Progress,
}

/// How a round got the whole file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// Whether it was put together from several answers, so that a wrong hash may be the seams' fault.
    pub(super) pieced: bool,
}

impl Round<'_> {
    /// Runs one round with at most `ranges` streams. Afterwards `partial` says what is held, whatever happened.
    pub(super) fn run(&self, partial: &mut Partial, ranges: usize) -> Result<Whole, Failure> {
        let continued = partial.continues(self.url, self.expected);
        let (lead, serves_parts) = if continued { self.resume(partial)? } else { self.start(partial)? };
        let total_bytes = partial.note.total_bytes.or(self.expected.bytes);
        let missing_bytes = total_bytes.map(|total| total.saturating_sub(partial.note.held.bytes()));
        let parallel = ranges > 1
            && serves_parts
            && partial.note.validator.is_some()
            && missing_bytes.is_some_and(|missing| missing >= self.options.ranges_from_bytes);
        self.progress.started(total_bytes);
        self.progress.advanced(partial.note.held.bytes());
        let pieced = parallel || partial.note.held.bytes() > 0;
        let board = Board::new(partial.note.held.clone(), total_bytes, self.options.limit_bytes);
        let outcome = self.stream(partial, &board, lead, if parallel { ranges } else { 1 });
        partial.note.held = board.held();
        match outcome {
            Ok(()) if board.is_complete() => {
                partial.note.total_bytes = board.total_bytes();
                Ok(Whole { pieced })
            }
            outcome => {
                let saved = partial.save();
                outcome.map_err(|failure| failure.with_held(partial.resumable_bytes()))?;
                saved.map_err(Failure::Fatal)?;
                // Every stream ended well and yet something is missing: only helpers that were turned away leave that.
                Err(Failure::OneStream(DownloadError::Protocol {
                    url: self.url.to_owned(),
                    reason: "parts of the file are missing after all streams ended".to_owned(),
                }))
            }
        }
    }

    /// Asks for the whole file.
    fn start(&self, partial: &mut Partial) -> Result<(Option<Response>, bool), Failure> {
        let (response, answer) = self.http.ask(self.url, None, self.expected, self.options)?;
        match answer {
            Answer::Whole { total_bytes, validator, serves_parts } => {
                partial.restart(self.url, validator, total_bytes).map_err(Failure::Fatal)?;
                Ok((Some(response), serves_parts))
            }
            Answer::Part { .. } | Answer::PastEnd { .. } => {
                Err(Failure::NextUrl(self.unusable("it is a part although the whole was asked for")))
            }
        }
    }

    /// Asks for the first part that is missing.
    fn resume(&self, partial: &mut Partial) -> Result<(Option<Response>, bool), Failure> {
        let note = &partial.note;
        let limit = note.total_bytes.unwrap_or(u64::MAX);
        let (Some(gap), validator @ Some(_)) = (note.held.gap(0, limit), note.validator.clone()) else {
            // Everything was there when the last run ended; only the rename is missing.
            return Ok((None, false));
        };
        let part = Part { range: gap, total_bytes: note.total_bytes, validator };
        let (response, answer) = self.http.ask(self.url, Some(&part), self.expected, self.options)?;
        match answer {
            Answer::Part { total_bytes } => {
                if self.expected.bytes.is_some_and(|expected| expected != total_bytes) {
                    return Err(Failure::StartOver(
                        self.unusable("the file on the server has another size now"),
                    ));
                }
                partial.note.total_bytes = Some(total_bytes);
                Ok((Some(response), true))
            }
            // The server does not do ranges, or the file changed: either way this is the whole, and what is held is not of it.
            Answer::Whole { total_bytes, validator, serves_parts } => {
                partial.restart(self.url, validator, total_bytes).map_err(Failure::Fatal)?;
                Ok((Some(response), serves_parts))
            }
            // Without a size in the note, asking beyond the end is how one learns that everything is there.
            Answer::PastEnd { total_bytes: Some(total) } if total == partial.note.held.prefix() => {
                partial.note.total_bytes = Some(total);
                Ok((None, false))
            }
            Answer::PastEnd { .. } => {
                Err(Failure::StartOver(self.unusable("there is nothing where the file should go on (416)")))
            }
        }
    }

    fn unusable(&self, reason: &str) -> DownloadError {
        DownloadError::Protocol { url: self.url.to_owned(), reason: reason.to_owned() }
    }

    /// Measures how many streams are worth having, until that is known or the round ends.
    fn try_streams(&self, board: &Board, mut trial: Trial) {
        let start = Instant::now();
        while let Some(bytes) = board.look_after(self.options.ranges_trial / LOOKS) {
            trial.look(start.elapsed(), bytes);
            board.allow(trial.streams(), trial.is_over());
        }
    }

    /// Lets the lead stream, the helpers and the follower run to their ends.
    fn stream(
        &self,
        partial: &mut Partial,
        board: &Board,
        lead: Option<Response>,
        streams: usize,
    ) -> Result<(), Failure> {
        let Partial { target, path, note_path, file, note, hashed, .. } = partial;
        let (file, validator) = (&*file, note.validator.clone());
        let sink = Sink {
            board,
            file,
            partial: path,
            target,
            url: self.url,
            options: self.options,
            progress: self.progress,
        };
        let interval = self.options.checkpoint_interval;
        let follower = Follower { board, file, path, note_path, note: note.clone(), interval };
        let step = if streams > 1 { self.options.range_bytes.max(1) } else { u64::MAX };
        let worker = Worker { round: *self, sink, validator: validator.as_ref(), step };
        thread::scope(|scope| {
            let following = thread::Builder::new()
                .name("fetch-follow".to_owned())
                .spawn_scoped(scope, move || follower.run(hashed))
                .map_err(|source| Failure::Fatal(DownloadError::Client { reason: source.to_string() }))?;
            // The lead claims first, so that its claim is where its body begins.
            let total = board.total_bytes();
            let lead_end = total.map(|total| board.held().gap(0, total).map_or(total, |gap| gap.end));
            let first = lead.and_then(|response| Some((response, board.claim(step, 0)?)));
            let trial = Trial::new(streams, self.options.ranges_trial);
            board.allow(trial.streams(), trial.is_over());
            let helping: Vec<_> = (1..streams)
                // A thread that cannot be had is help that cannot be had, no more.
                .filter_map(|number| {
                    thread::Builder::new().spawn_scoped(scope, move || worker.help(number)).ok()
                })
                .collect();
            if !trial.is_over() {
                // Without it there is one stream, which is enough.
                let _ = thread::Builder::new().spawn_scoped(scope, move || self.try_streams(board, trial));
            }
            let led = match first {
                Some((mut response, claim)) => {
                    sink.drain(&mut response, claim, lead_end, step).and_then(|()| {
                        // A connection with the rest of a body in it is of no more use.
                        drop(response);
                        worker.work(0)
                    })
                }
                None => Ok(()),
            };
            board.settle();
            let mut failures: Vec<Failure> = led.err().into_iter().collect();
            if streams > 1 {
                failures = failures.into_iter().map(Failure::of_helper).collect();
            }
            for helper in helping {
                failures.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)).err());
            }
            board.close();
            let followed = following.join().unwrap_or_else(|panic| resume_unwind(panic));
            followed.map_err(Failure::Fatal)?;
            match failures.into_iter().max_by_key(Failure::weight) {
                Some(failure) if !board.is_complete() || matches!(failure, Failure::Fatal(_)) => Err(failure),
                Some(failure @ Failure::NextUrl(_)) => Err(failure),
                // What failed in one stream, another one did.
                _ => Ok(()),
            }
        })
    }
}

/// A stream, with a number, that asks for one missing part after the other.
#[derive(Clone, Copy)]
struct Worker<'a> {
    round: Round<'a>,
    sink: Sink<'a>,
    validator: Option<&'a Validator>,
    /// How much to ask for at a time, in bytes.
    step: u64,
}

impl Worker<'_> {
    /// Waits for its turn, and helps until there is nothing to claim. After a failure of its own it stops; after one that says that ranges do not work,
    /// so do the others.
    fn help(&self, number: usize) -> Result<(), Failure> {
        if !self.sink.board.wait_turn(number) {
            return Ok(());
        }
        let outcome = self.work(number).map_err(Failure::of_helper);
        if matches!(outcome, Err(Failure::OneStream(_))) {
            self.sink.board.no_more_help();
        }
        outcome
    }

    fn work(&self, number: usize) -> Result<(), Failure> {
        let board = self.sink.board;
        let Some(validator) = self.validator else { return Ok(()) };
        while let (Some(total), Some(claim)) = (board.total_bytes(), board.claim(self.step, number)) {
            let Range { start, end } = claim.range();
            let part =
                Part { range: start..end, total_bytes: Some(total), validator: Some(validator.clone()) };
            let round = &self.round;
            let (mut response, answer) =
                round.http.ask(round.url, Some(&part), round.expected, round.options)?;
            match answer {
                // The step is nothing here: this body ends where the claim does.
                Answer::Part { .. } => self.sink.drain(&mut response, claim, Some(end), 0)?,
                Answer::Whole { .. } | Answer::PastEnd { .. } => {
                    return Err(Failure::StartOver(round.unusable("it is not the part that was asked for")));
                }
            }
        }
        Ok(())
    }
}
