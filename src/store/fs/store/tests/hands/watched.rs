//! A store that shows what it does to the hand.

use std::sync::MutexGuard;

use super::*;

/// A store whose commits are looked at when they end.
pub(super) struct Watched {
    inner: FsStore,
    hand: Arc<Mutex<Hand>>,
    ended: Vec<(Ticket, Ended<WatchedFile>)>,
}

/// An entry, and when it was begun, if it is a partial file.
pub(super) struct WatchedFile(FsFile, Option<u64>);

type Ended<F> = crate::store::Ended<F>;

impl Watched {
    pub(super) fn new(inner: &FsStore, hand: &Arc<Mutex<Hand>>) -> Self {
        Self { inner: inner.clone(), hand: Arc::clone(hand), ended: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap()
    }
}

impl Store for Watched {
    type File = WatchedFile;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
        self.lock().owner = Owner::of(transfer);
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        self.inner.stat(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(WatchedFile, Found), Refusal> {
        let now = self.lock().step;
        let (file, found) = self.inner.begin(offer, place)?;
        let is_existing = matches!(found, Found::Existing(_));
        Ok((WatchedFile(file, (!is_existing).then_some(now)), found))
    }

    fn read_at(&mut self, file: &mut WatchedFile, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(&mut file.0, at, to)
    }

    fn write_at(&mut self, file: &mut WatchedFile, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(&mut file.0, at, bytes)
    }

    fn write_zeros(&mut self, file: &mut WatchedFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.write_zeros(&mut file.0, at, len)
    }

    fn copy_held(&mut self, file: &mut WatchedFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(&mut file.0, at, len)
    }

    fn commit(&mut self, WatchedFile(file, begun): WatchedFile, commit: Commit) {
        self.lock().is_committing = true;
        self.inner.commit(file, commit.clone());
        self.lock().is_committing = false;
        let (ticket, ended) =
            self.inner.poll_committed(Duration::ZERO).expect("without threads it has ended");
        let ended = ended.map_err(|failed| match failed {
            Uncommitted::Failed(reason) => Uncommitted::Failed(reason),
            Uncommitted::Taken { file, existing } => Uncommitted::Taken {
                file: WatchedFile(file, begun),
                existing: existing.map(|(existing, len)| (WatchedFile(existing, None), len)),
            },
        });
        if let Ok(committed) = &ended {
            self.lock().check_receipt(&commit, committed, begun);
        }
        self.ended.push((ticket, ended));
    }

    fn poll_committed(&mut self, _: Duration) -> Option<(Ticket, Ended<WatchedFile>)> {
        (!self.ended.is_empty()).then(|| self.ended.remove(0))
    }

    fn suspend(&mut self, file: WatchedFile) {
        self.inner.suspend(file.0);
    }

    fn discard(&mut self, file: WatchedFile) {
        self.inner.discard(file.0);
    }
}
