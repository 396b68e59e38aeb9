//! Bundles: what a relay would carry, in a file for a USB stick or a shared folder.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::backup::partial_path;
use super::{Client, ClientError, Progress, ProgressStep};
use crate::bundle::{BundleError, BundleReader};
use crate::engine::{Base, EngineError, Exported, export_bundle, import_bundle, rest};
use crate::store::StoreError;

/// What is left out of a bundle, because whoever reads it holds it.
#[derive(Debug, Clone, Default)]
pub enum BundleBase {
    /// Nothing: whoever is in the space can read it.
    #[default]
    Nothing,
    /// What this earlier bundle goes to: the new one follows it.
    Bundle(PathBuf),
    /// What a device has confirmed, named by id, the beginning of one, or name.
    Device(String),
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleExport {
    /// The space.
    pub space: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Records of members, devices and keys.
    pub records: u64,
    /// Sealed envelopes.
    pub envelopes: u64,
    /// Envelopes that were left out, as asked.
    pub left_out: u64,
    /// Chunks of a checkpoint: they stand for edits that are gone from here and that the reader may lack, whatever was
    /// to be left out.
    pub chunks: u64,
    /// Parts of attachments, if they were asked for.
    pub parts: u64,
    /// Parts that were asked for and are not on this device: they are not in it.
    pub parts_away: u64,
    /// Edits that wait to be sealed and are not in it.
    pub changes_pending: u64,
    /// Why they wait; `None`: nothing does.
    pub unsealed: Option<String>,
}

/// What a bundle brought.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BundleImport {
    /// The space.
    pub space: String,
    /// What the space is called here.
    pub space_name: String,
    /// Records that were new here.
    pub records: u64,
    /// Envelopes that were new here.
    pub received: u64,
    /// Envelopes that were here already.
    pub duplicates: u64,
    /// Documents that changed.
    pub documents_changed: u64,
    /// Envelopes that were set aside.
    pub quarantined: u64,
    /// Parts of attachments that were not here.
    pub parts: u64,
    /// Records and envelopes that no device of the space made, or that follow one that is not here.
    pub passed_over: u64,
}

impl From<BundleError> for ClientError {
    fn from(error: BundleError) -> Self {
        let message = error.to_string();
        match error {
            BundleError::Damaged => Self::Security { message },
            BundleError::Io(_) => Self::Storage { message, transient: false },
            _ => Self::Invalid { message },
        }
    }
}

impl Client {
    /// Writes all records and envelopes of this space into a file; whatever was there before stays until the new file is
    /// whole. Edits are sealed first. The file holds no key and nothing readable.
    /// # Errors
    /// [`ClientError::Network`] while something else syncs this home; [`ClientError::Invalid`] for an earlier bundle that
    /// is none, or of another space; [`ClientError::Security`] when this device is not in the space any more;
    /// [`ClientError::Storage`].
    pub fn export_bundle(
        &self,
        file: &Path,
        base: &BundleBase,
        progress: Progress<'_>,
    ) -> Result<BundleExport, ClientError> {
        self.bundle(file, (base, false), progress)
    }

    /// The same with the parts of attachments that are on this device, sealed as they are, one in memory at a time.
    /// # Errors
    /// As [`Self::export_bundle`].
    pub fn export_bundle_with_attachments(
        &self,
        file: &Path,
        base: &BundleBase,
        progress: Progress<'_>,
    ) -> Result<BundleExport, ClientError> {
        self.bundle(file, (base, true), progress)
    }

    fn bundle(
        &self,
        file: &Path,
        (base, has_attachments): (&BundleBase, bool),
        progress: Progress<'_>,
    ) -> Result<BundleExport, ClientError> {
        let base = self.bundle_base(base)?;
        let partial = partial_path(file);
        let written = self.write_bundle(&partial, (&base, has_attachments), progress).and_then(|exported| {
            fs::rename(&partial, file).map_err(BundleError::Io)?;
            Ok(exported)
        });
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        let exported = written?;
        Ok(BundleExport {
            space: self.space().to_string(),
            bytes: exported.bytes,
            records: exported.records,
            envelopes: exported.envelopes,
            left_out: exported.left_out,
            chunks: exported.chunks,
            parts: exported.parts,
            parts_away: exported.parts_away,
            changes_pending: self.shared.reader().reads().pending_count(&self.space())?,
            unsealed: exported.unsealed.map(|why| why.to_string()),
        })
    }

    fn write_bundle(&self, path: &Path, what: (&Base, bool), progress: Progress<'_>) -> Result<Exported, ClientError> {
        let out = BufWriter::new(File::create(path).map_err(BundleError::Io)?);
        let mut step = |done, total| progress(ProgressStep { phase: "export", done, total });
        let (mut out, exported) = export_bundle(&self.shared, out, what, &mut step)?;
        out.flush().map_err(BundleError::Io)?;
        let file = out.into_inner().map_err(|error| BundleError::Io(error.into_error()))?;
        file.sync_all().map_err(BundleError::Io)?;
        Ok(exported)
    }

    fn bundle_base(&self, base: &BundleBase) -> Result<Base, ClientError> {
        match base {
            BundleBase::Nothing => Ok(Base::Nothing),
            BundleBase::Bundle(earlier) => {
                let earlier = open_bundle(earlier)?;
                if earlier.space() != self.space() {
                    return Err(ClientError::invalid(
                        "the earlier bundle is of another space: name its space with `--space`, or leave it out",
                    ));
                }
                // What it does not hold must not be left out: it is read to its end.
                match earlier.check() {
                    Ok((streams, parts)) => Ok(Base::Earlier(streams, parts)),
                    Err(BundleError::Truncated | BundleError::Damaged) => {
                        Err(ClientError::invalid("the earlier bundle is damaged: leave it out"))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            BundleBase::Device(wanted) => Ok(Base::Confirmed(self.find_device(wanted)?)),
        }
    }

    /// Takes in what a bundle holds, whichever space of this home it is of. Importing it again changes nothing; what came
    /// goes to the relays with the next sync.
    /// # Errors
    /// [`ClientError::NotFound`] when this device is not in its space; [`ClientError::Invalid`] for a file that is no
    /// bundle or is cut short, [`ClientError::Security`] for one that is damaged: what is sound of it was taken in;
    /// [`ClientError::Network`] while something else syncs this home.
    pub fn import_bundle(&self, file: &Path, progress: Progress<'_>) -> Result<BundleImport, ClientError> {
        let total = fs::metadata(file).map_err(BundleError::Io)?.len();
        let bundle = open_bundle(file)?;
        let client = self.in_space_of(&bundle)?;
        let mut step = |done| progress(ProgressStep { phase: "import", done, total });
        let imported = import_bundle(&client.shared, bundle, &mut step);
        rest(&client.shared)?;
        let imported = imported.map_err(refused_records)?;
        Ok(BundleImport {
            space: client.space().to_string(),
            space_name: client.name()?,
            records: imported.records,
            received: imported.received,
            duplicates: imported.duplicates,
            documents_changed: imported.changed.len() as u64 + imported.joined,
            quarantined: imported.quarantined,
            parts: imported.parts,
            passed_over: imported.passed_over,
        })
    }

    fn in_space_of(&self, bundle: &BundleReader<BufReader<File>>) -> Result<Self, ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        if !rows.iter().any(|row| row.space == bundle.space()) {
            return Err(ClientError::not_found(
                "space in this home that the bundle is of, and only who is in it can read it: link this device with \
                 `lifeos link new`, or ask for an invitation, and import it then",
            ));
        }
        self.at(&bundle.space())
    }
}

fn open_bundle(file: &Path) -> Result<BundleReader<BufReader<File>>, BundleError> {
    BundleReader::open(BufReader::new(File::open(file).map_err(BundleError::Io)?))
}

/// The words of a record's refusal speak of a relay.
fn refused_records(error: EngineError) -> ClientError {
    match error {
        EngineError::Store(StoreError::Records(_)) => ClientError::Security {
            message: "the bundle holds membership records that cannot be of this space; they were not taken in: ask \
                      whoever gave it to you for another one"
                .to_owned(),
        },
        error => error.into(),
    }
}
