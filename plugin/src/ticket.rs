//! Tickets: what became of an operation.

use std::collections::BTreeMap;

use autotag::EncodeError;
use serde::{Deserialize, Serialize};

/// The most recent failures that are remembered by their tickets.
const MAX_FAILED: usize = 4096;

/// The number of an operation, in the order of submission to its writer.
///
/// It means nothing to another writer, nor to the next one of the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(u64);

impl Ticket {
    /// The place before the first ticket.
    pub(crate) const NONE: Ticket = Ticket(0);
}

/// The outcome of an operation so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TicketStatus {
    /// No commit has covered it yet.
    Pending,
    /// A commit made it visible and durable.
    Committed,
    /// A commit covered it, but its document could not be tagged: what the commit holds of it is up
    /// to the policy, [`OnFailure`](crate::OnFailure). The last 4096 failures are remembered;
    /// [`CommitSummary::failures`](crate::CommitSummary::failures) lists them as well.
    Failed(EncodeError),
    /// It never takes effect: [`rollback`](crate::TaggingWriter::rollback) dropped it, or
    /// [`close_within`](crate::TaggingWriter::close_within) left it behind.
    Lost,
}

/// The last commit of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastCommit {
    /// Its generation, larger than that of every earlier commit to the index.
    pub generation: u64,
    /// The last operation that it, or a rollback since, has decided on; `None` before the first. No
    /// ticket up to it is pending; [`status`](crate::TaggingWriter::status) tells a committed one from
    /// a lost one.
    pub ticket: Option<Ticket>,
}

impl TicketStatus {
    /// Tells whether nothing was decided yet.
    pub fn is_pending(&self) -> bool {
        matches!(self, TicketStatus::Pending)
    }

    /// Tells whether the operation is visible and durable.
    pub fn is_committed(&self) -> bool {
        matches!(self, TicketStatus::Committed)
    }
}

/// The states of all tickets of a writer. Tickets count from 1.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    issued: u64,
    /// The last operation that both stores have taken.
    applied: u64,
    committed: u64,
    /// The operations that rollbacks dropped, in their order: behind the first, up to the second ticket.
    rolled_back: Vec<(u64, u64)>,
    failed: BTreeMap<u64, EncodeError>,
    is_closed: bool,
}

impl Tickets {
    pub(crate) fn issue(&mut self) -> Ticket {
        self.issued += 1;
        Ticket(self.issued)
    }

    /// Returns the last ticket, or the one before the first.
    pub(crate) fn last_issued(&self) -> Ticket {
        Ticket(self.issued)
    }

    /// Records that all operations up to one are applied.
    pub(crate) fn apply(&mut self, last: Ticket) {
        self.applied = last.0;
    }

    pub(crate) fn fail(&mut self, Ticket(number): Ticket, cause: EncodeError) {
        self.failed.insert(number, cause);
        if self.failed.len() > MAX_FAILED {
            self.failed.pop_first();
        }
    }

    /// Records a commit of all applied operations.
    pub(crate) fn commit(&mut self) {
        self.committed = self.applied;
    }

    /// Records that all operations since the last commit up to one were dropped.
    pub(crate) fn roll_back(&mut self, Ticket(last): Ticket) {
        if last > self.committed {
            match self.rolled_back.last_mut() {
                Some((_, end)) if *end == self.committed => *end = last,
                _ => self.rolled_back.push((self.committed, last)),
            }
        }
        self.failed.split_off(&(self.committed + 1));
        (self.committed, self.applied) = (last, last);
    }

    /// Records that no pending operation will be committed.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn status(&self, Ticket(number): Ticket) -> TicketStatus {
        let place = self.rolled_back.partition_point(|&(_, last)| last < number);
        if self.rolled_back.get(place).is_some_and(|&(begin, _)| begin < number) {
            return TicketStatus::Lost;
        }
        match self.failed.get(&number) {
            _ if number > self.committed && self.is_closed => TicketStatus::Lost,
            _ if number > self.committed => TicketStatus::Pending,
            Some(cause) => TicketStatus::Failed(cause.clone()),
            None => TicketStatus::Committed,
        }
    }

    /// Tells whether an operation waits for a commit.
    pub(crate) fn has_pending(&self) -> bool {
        self.issued > self.committed
    }

    /// Returns the last ticket that is not pending any more.
    pub(crate) fn committed(&self) -> Option<Ticket> {
        (self.committed > 0).then_some(Ticket(self.committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(tickets: &Tickets, numbers: impl IntoIterator<Item = u64>) -> String {
        let letter = |number| match tickets.status(Ticket(number)) {
            TicketStatus::Pending => 'p',
            TicketStatus::Committed => 'c',
            TicketStatus::Failed(_) => 'f',
            TicketStatus::Lost => 'l',
        };
        numbers.into_iter().map(letter).collect()
    }

    #[test]
    fn rollbacks_lose_what_no_commit_has() {
        let mut tickets = Tickets::default();
        for _ in 0..4 {
            tickets.issue();
        }
        tickets.fail(Ticket(2), EncodeError::EmptyText);
        tickets.apply(Ticket(2));
        assert_eq!(statuses(&tickets, 1..=4), "pppp");
        tickets.commit();
        assert_eq!(statuses(&tickets, 1..=4), "cfpp");
        tickets.apply(Ticket(3));
        tickets.fail(Ticket(3), EncodeError::EmptyText);
        let last = tickets.last_issued();
        // Submitted while the rollback goes on.
        tickets.issue();
        tickets.roll_back(last);
        assert_eq!(statuses(&tickets, 1..=5), "cfllp");
        tickets.commit();
        assert_eq!(statuses(&tickets, 1..=5), "cfllp");
        tickets.apply(Ticket(5));
        tickets.commit();
        assert_eq!(statuses(&tickets, 1..=5), "cfllc");
        tickets.issue();
        tickets.close();
        assert_eq!(statuses(&tickets, 1..=6), "cfllcl");
    }

    #[test]
    fn many_rollbacks_are_told_from_what_was_committed_between() {
        let mut tickets = Tickets::default();
        for number in 1..=10_000 {
            tickets.issue();
            tickets.apply(Ticket(number));
            if number % 2 == 0 {
                tickets.roll_back(Ticket(number));
            } else {
                tickets.fail(Ticket(number), EncodeError::EmptyText);
                tickets.commit();
            }
        }
        assert!(tickets.failed.len() <= MAX_FAILED);
        assert_eq!(statuses(&tickets, 9_995..=10_000), "flflfl");
        // Failures are forgotten, and count as committed then.
        assert_eq!(statuses(&tickets, 1..=6), "clclcl");
        // Rollbacks one after another are one.
        let before = tickets.rolled_back.len();
        for number in 10_001..=10_003 {
            tickets.issue();
            tickets.roll_back(Ticket(number));
        }
        tickets.roll_back(Ticket(10_003));
        assert_eq!(tickets.rolled_back.len(), before);
        assert_eq!(statuses(&tickets, 10_000..=10_003), "llll");
    }
}
