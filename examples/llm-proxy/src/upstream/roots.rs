//! The roots that an `https` upstream is trusted by.

use std::{env, io, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Refuses a `SSL_CERT_FILE` that can not be read or holds no certificate. Whoever sets it trusts nobody else, but what reads the
/// roots goes on with those of `SSL_CERT_DIR`.
pub(crate) fn check() -> io::Result<()> {
    env::var_os("SSL_CERT_FILE").map_or(Ok(()), |file| check_file(Path::new(&file)))
}

fn check_file(path: &Path) -> io::Result<()> {
    let refused =
        |why: String| io::Error::other(format!("SSL_CERT_FILE {}: {why}", path.display()));
    let mut certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    match certificates.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(refused(error.to_string())),
        None => Err(refused("it holds no certificate".to_owned())),
    }
}
