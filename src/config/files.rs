//! Files that the config file names: read once when it is checked, so that a wrong name is said before anything starts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The whole bundle of public authorities takes a quarter of a mebibyte; this keeps a wrong name from filling the memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The file's bytes, of a bounded number.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it holds more than {} MiB", FILE_BYTES_MAX >> 20)))
}

/// As [`read`], of a file that holds text.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it does not hold UTF-8 text"))
}

/// Nothing, where the file holds certificates in PEM form; else a sentence.
pub(super) fn check_certificates(path: &Path) -> Result<(), String> {
    let pem = read(path).map_err(|error| cannot_read(&error))?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
    if certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok()) {
        return Ok(());
    }
    Err("expected a file of certificates in PEM form (-----BEGIN CERTIFICATE-----), found none in it".to_owned())
}

/// The file's name is in the line that the problem points at, and may be a URL put there by mistake: it is not repeated.
pub(super) fn cannot_read(error: &io::Error) -> String {
    format!("expected a file that can be read: {error}")
}
