//! Used part of TLS: version 1.3 alone, raw public keys (RFC 7250), Ed25519, no resumption, no early data.

use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, Error, PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme,
};

use super::Expect;
use super::key::{self, SecretKey};
use crate::types::PublicKey;

/// Name of the protocol that both ends announce (ALPN, RFC 7301).
pub(super) const PROTOCOL: &[u8] = b"haul/1";

/// The end that dials.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    config: ClientConfig,
    expect: Expect,
}

/// The key that was shown and not taken.
pub(super) type Seen = Arc<OnceLock<PublicKey>>;

/// The end that is dialed.
#[derive(Debug, Clone)]
pub(super) struct Listener(Arc<ServerConfig>);

impl Dialer {
    pub(super) fn new(key: &SecretKey, expect: Expect) -> io::Result<Self> {
        let verifier = Arc::new(Verifier { expect: expect.clone(), seen: Seen::default() });
        let mut config = ClientConfig::builder_with_provider(Arc::new(algorithms()))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                certified(key)?,
            )));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self { config, expect })
    }

    pub(super) fn connection(&self) -> io::Result<(Connection, Seen)> {
        let seen = Seen::default();
        let mut config = self.config.clone();
        let verifier = Verifier { expect: self.expect.clone(), seen: Arc::clone(&seen) };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        // It is not sent, and proves nothing here: the key does.
        let name = ServerName::try_from("haul").map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(unusable)?;
        Ok((connection.into(), seen))
    }

    /// Creates a connection that uses TLS, but not as haul does.
    #[cfg(test)]
    #[cfg(feature = "testing")]
    pub(super) fn foreign(
        &self,
        change: impl FnOnce(&mut ClientConfig),
    ) -> io::Result<(Connection, Seen)> {
        let mut foreign = self.clone();
        change(&mut foreign.config);
        foreign.connection()
    }
}

impl Listener {
    pub(super) fn new(key: &SecretKey) -> io::Result<Self> {
        let verifier = Arc::new(Verifier { expect: Expect::anyone(), seen: Seen::default() });
        let mut config = ServerConfig::builder_with_provider(Arc::new(algorithms()))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(key)?)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // After the handshake a server sends nothing of itself: a line may be used in turns.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn connection(&self) -> io::Result<(Connection, Seen)> {
        let connection = ServerConnection::new(Arc::clone(&self.0)).map_err(unusable)?;
        Ok((connection.into(), Seen::default()))
    }
}

/// Returns the key that the other end has proved to have, once the handshake is over.
pub(super) fn key_of_peer(connection: &Connection) -> Option<PublicKey> {
    let [key] = connection.peer_certificates()? else { return None };
    key::from_spki(key)
}

/// Returns AES where the processor has instructions for it, ChaCha20 first where it has none.
fn algorithms() -> CryptoProvider {
    let (aes, chacha) = (
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    );
    CryptoProvider {
        cipher_suites: if has_aes() { vec![aes, chacha] } else { vec![chacha, aes] },
        kx_groups: vec![provider::kx_group::X25519],
        ..provider::default_provider()
    }
}

fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn certified(key: &SecretKey) -> io::Result<Arc<CertifiedKey>> {
    let document = key.to_pkcs8();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_slice()));
    let signer = provider::sign::any_eddsa_type(match &private {
        PrivateKeyDer::Pkcs8(key) => key,
        _ => return Err(io::Error::other("a key is of PKCS #8")),
    })
    .map_err(unusable)?;
    let public = CertificateDer::from(key::to_spki(key.public()));
    Ok(Arc::new(CertifiedKey::new(vec![public], signer)))
}

fn unusable(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, error.to_string())
}

/// Verifier that takes the keys that are expected, if the other end proves that it has them.
#[derive(Debug)]
struct Verifier {
    expect: Expect,
    seen: Seen,
}

impl Verifier {
    fn take(&self, key: &CertificateDer<'_>) -> Result<(), Error> {
        let known = key::from_spki(key).ok_or(CertificateError::BadEncoding)?;
        if self.expect.takes(known) {
            Ok(())
        } else {
            let _ = self.seen.set(known);
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

fn verify(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    let algorithms: WebPkiSupportedAlgorithms =
        provider::default_provider().signature_verification_algorithms;
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms)
}

/// Methods that verifiers of either side have alike: raw public keys, and signatures of TLS 1.3 by Ed25519.
macro_rules! raw_key_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            key: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify(message, key, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.take(key).map(|()| ServerCertVerified::assertion())
    }

    raw_key_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.take(key).map(|()| ClientCertVerified::assertion())
    }

    raw_key_signatures!();
}
