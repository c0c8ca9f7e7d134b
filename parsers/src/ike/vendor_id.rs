//! The Vendor IDs that are known: what a peer can do beside the standard, and what it is (RFC 2408 section 3.16).

/// The name of a Vendor ID of either version; of an unknown one, `None`.
pub fn vendor_name(vendor_id: &[u8]) -> Option<&'static str> {
    let known = |id: &Id| match id {
        Exact(number) => vendor_id == number.to_be_bytes(),
        Prefix(bytes) => vendor_id.starts_with(bytes),
    };
    KNOWN.iter().find(|(id, _)| known(id)).map(|(_, name)| *name)
}

/// How a Vendor ID is told.
enum Id {
    /// These 16 bytes and no more.
    Exact(u128),
    /// These bytes, then perhaps a version or capabilities.
    Prefix(&'static [u8]),
}

use Id::{Exact, Prefix};

/// Most are MD5 hashes of the name. `draft-ietf-ipsec-nat-t-ike-02\\n` was hashed with a line feed, by mistake, and is the
/// one in use.
const KNOWN: &[(Id, &str)] = &[
    // What the peer can do.
    (Prefix(b"\x09\x00\x26\x89\xdf\xd6\xb7\x12"), "XAUTH"),
    (Prefix(b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57"), "Dead Peer Detection"),
    (Exact(0x4a131c81070358455c5728f20e95452f_u128), "RFC 3947 NAT-Traversal"),
    (Exact(0x4485152d18b6bbcd0be8a8469579ddcc_u128), "draft-ietf-ipsec-nat-t-ike-00"),
    (Exact(0x16f6ca16e4a4066d83821a0f0aeaa862_u128), "draft-ietf-ipsec-nat-t-ike-01"),
    (Exact(0xcd60464335df21f87cfdb2fc68b6a448_u128), "draft-ietf-ipsec-nat-t-ike-02"),
    (Exact(0x90cb80913ebb696e086381b5ec427b1f_u128), "draft-ietf-ipsec-nat-t-ike-02\\n"),
    (Exact(0x7d9419a65310ca6f2c179d9215529d56_u128), "draft-ietf-ipsec-nat-t-ike-03"),
    (Exact(0x9909b64eed937c6573de52ace952fa6b_u128), "draft-ietf-ipsec-nat-t-ike-04"),
    (Exact(0x80d0bb3def54565ee84645d4c85ce3ee_u128), "draft-ietf-ipsec-nat-t-ike-05"),
    (Exact(0x4d1e0e136deafa34c4f3ea9f02ec7285_u128), "draft-ietf-ipsec-nat-t-ike-06"),
    (Exact(0x439b59f8ba676c4c7737ae22eab8f582_u128), "draft-ietf-ipsec-nat-t-ike-07"),
    (Exact(0x8f8d83826d246b6fc7a8a6a428c11de8_u128), "draft-ietf-ipsec-nat-t-ike-08"),
    (Exact(0x4df37928e9fc4fd1b3262170d515c662_u128), "draft-ietf-ipsec-nat-t-ike"),
    (Exact(0x27bab5dc01ea0760ea4e3190ac27c0d0_u128), "draft-stenberg-ipsec-nat-traversal-01"),
    (Exact(0x6a7434c19d7e36348090a02334c9c805_u128), "draft-huttunen-ipsec-esp-in-udp-00"),
    (Exact(0x50760f624c63e5c53eea386c685ca083_u128), "ESPThruNAT"),
    (Prefix(b"\x40\x48\xb7\xd5\x6e\xbc\xe8\x85\x25\xe7\xde\x7f\x00\xd6\xc2\xd3"), "FRAGMENTATION"),
    // What the peer is.
    (Exact(0x882fe56d6fd20dbc2251613b2ebe5beb_u128), "strongSwan"),
    (Prefix(b"\x12\xf5\xf2\x8c\x45\x71\x68\xa9\x70\x2d\x9f\xe2\x74\xcc"), "Cisco Unity"),
    (Prefix(b"\x1f\x07\xf7\x0e\xaa\x65\x14\xd3\xb0\xfa\x96\x54\x2a\x50"), "Cisco VPN Concentrator"),
    (Prefix(b"CISCO-DELETE-REASON"), "Cisco Delete Reason"),
    (Prefix(b"CISCO(COPYRIGHT)"), "Cisco Copyright"),
    (Prefix(b"CISCO-DYNAMIC-ROUTE"), "Cisco Dynamic Route"),
    (Prefix(b"CISCOVPN-REV-"), "CISCOVPN-REV"),
    (Prefix(b"FLEXVPN-SUPPORTED"), "Cisco FlexVPN"),
    (Prefix(b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61"), "MS NT5 ISAKMPOAKLEY"),
    (Exact(0xfb1de3cdf341b7ea16b7e5be0855f120_u128), "MS-Negotiation Discovery Capable"),
    (Exact(0x214ca4faffa7f32d6748e5303395ae83_u128), "MS-MamieExists"),
    (Exact(0x26244d38eddb61b3172a36e3d0cfb819_u128), "Vid-Initial-Contact"),
    (Exact(0xe3a5966a76379fe707228231e5ce8652_u128), "IKE CGA version 1"),
    (Exact(0x621b04bb09882ac1e15935fefa24aeee_u128), "GSSAPI"),
    (Exact(0xad2c0dd0b9c32083ccba25b8861ec455_u128), "A GSS-API Authentication Method for IKE"),
    (Exact(0x7003cbc1097dbe9c2600ba6983bc8b35_u128), "KAME/racoon"),
    (Prefix(b"OE-Libreswan"), "Libreswan"),
    (Prefix(b"\xf4\xed\x19\xe0\xc1\x14\xeb\x51\x6f\xaa\xac\x0e\xe3\x7d\xaf\x28\x07\xb4\x38\x1f"), "Check Point"),
    (Exact(0x1d6e178f6c2c0be284985465450fe9d4_u128), "Fortinet FortiGate"),
    (Prefix(b"\x40\x4b\xf4\x39\x52\x2c\xa3\xf6"), "SonicWall"),
    (Prefix(b"\x5b\x36\x2b\xc8\x20\xf6"), "SonicWall"),
    (Prefix(b"HeartBeat_Notify"), "HeartBeat Notify"),
    (Prefix(b"OpenPGP"), "OpenPGP"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_follow() {
        let dpd = [0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57, 1, 0];
        assert_eq!(vendor_name(&dpd), Some("Dead Peer Detection"));
        assert_eq!(vendor_name(&dpd[..13]), None);
        assert_eq!(vendor_name(b"CISCO-DELETE-REASON"), Some("Cisco Delete Reason"));
    }

    #[test]
    fn others_are_whole() {
        let strong_swan = 0x882fe56d6fd20dbc2251613b2ebe5beb_u128.to_be_bytes();
        assert_eq!(vendor_name(&strong_swan), Some("strongSwan"));
        assert_eq!(vendor_name(&strong_swan[..15]), None);
        assert_eq!(vendor_name(&[&strong_swan[..], &[0]].concat()), None);
        assert_eq!(vendor_name(&[]), None);
    }
}
