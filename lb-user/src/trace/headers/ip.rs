//! IPv4, IPv6 and its extension headers.

use etherparse::{
    IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

use super::{Around, Layer, Step, Walk, checksum};

/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;

impl Walk<'_> {
    pub(super) fn ipv4<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let ip = match Ipv4HeaderSlice::from_slice(bytes) {
            Ok(ip) => ip,
            Err(error) => return self.no("IPv4", error, bytes),
        };
        let (header, total) = (ip.slice().len(), usize::from(ip.total_len()));
        let (offset, more) = (ip.fragments_offset().byte_offset(), ip.more_fragments());
        let mut words = vec![
            format!("{} → {}", ip.source_addr(), ip.destination_addr()),
            protocol(ip.protocol()),
            length(total, bytes.len(), self.quoted),
        ];
        if !ip.options().is_empty() {
            words.push(format!("options {} bytes", ip.options().len()));
        }
        let tos = ip.dcp().value() << 2 | ip.ecn().value();
        words.push(format!("ttl {}, tos {tos:#04x}, id {}", ip.ttl(), ip.identification()));
        if ip.dont_fragment() {
            words.push("DF".to_owned());
        }
        words.extend(fragment(offset, more));
        words.push(checksum(ip.header_checksum(), Some(&[ip.slice()])));
        self.say("IPv4", words.join(", "));
        let around = Around {
            source: ip.source_addr().into(),
            destination: ip.destination_addr().into(),
            protocol: ip.protocol(),
            whole: total >= header && total <= bytes.len() && offset == 0 && !more,
            begins: offset == 0,
        };
        (Layer::Behind(around), &bytes[header..total.clamp(header, bytes.len())])
    }

    pub(super) fn ipv6<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let ip = match Ipv6HeaderSlice::from_slice(bytes) {
            Ok(ip) => ip,
            Err(error) => return self.no("IPv6", error, bytes),
        };
        let total = IPV6_LEN + usize::from(ip.payload_length());
        let words = [
            format!("{} → {}", ip.source_addr(), ip.destination_addr()),
            protocol(ip.next_header()),
            length(total, bytes.len(), self.quoted),
            format!("hop limit {}, class {:#04x}", ip.hop_limit(), ip.traffic_class()),
            format!("flow {:#07x}", ip.flow_label().value()),
        ];
        self.say("IPv6", words.join(", "));
        let around = Around {
            source: ip.source_addr().into(),
            destination: ip.destination_addr().into(),
            protocol: ip.next_header(),
            whole: total <= bytes.len(),
            begins: true,
        };
        self.extensions(around, &bytes[IPV6_LEN..total.min(bytes.len())])
    }

    /// Extension headers (RFC 8200, 4), up to one that is none.
    fn extensions<'b>(&mut self, mut around: Around, mut rest: &'b [u8]) -> Step<'b> {
        while around.begins {
            let name = match around.protocol {
                IpNumber::IPV6_HEADER_HOP_BY_HOP => "hop-by-hop",
                IpNumber::IPV6_ROUTE_HEADER => "routing",
                IpNumber::IPV6_DESTINATION_OPTIONS => "destination",
                IpNumber::IPV6_FRAGMENTATION_HEADER => "fragment",
                _ => break,
            };
            let (next, text, taken) = if name == "fragment" {
                let header = match Ipv6FragmentHeaderSlice::from_slice(rest) {
                    Ok(header) => header,
                    Err(error) => return self.no(name, error, rest),
                };
                let (offset, more) =
                    (header.fragment_offset().byte_offset(), header.more_fragments());
                around.begins = offset == 0;
                around.whole &= offset == 0 && !more;
                let part = fragment(offset, more).unwrap_or_else(|| "all of it".to_owned());
                let text = format!("id {:#x}, {part}", header.identification());
                (header.next_header(), text, header.slice().len())
            } else {
                let header = match Ipv6RawExtHeaderSlice::from_slice(rest) {
                    Ok(header) => header,
                    Err(error) => return self.no(name, error, rest),
                };
                let length = header.slice().len();
                (header.next_header(), format!("{length} bytes"), length)
            };
            self.say(name, format!("{text}, {}", protocol(next)));
            (around.protocol, rest) = (next, &rest[taken..]);
        }
        (Layer::Behind(around), rest)
    }
}

/// The length that a header says; of a quoted packet it is known to be more than there is.
fn length(total: usize, there: usize, quoted: bool) -> String {
    match total <= there {
        true if total < there && !quoted => {
            format!("{total} bytes (and {} behind it)", there - total)
        }
        true => format!("{total} bytes"),
        false => format!("{total} bytes ({there} are there)"),
    }
}

fn fragment(offset: u16, more: bool) -> Option<String> {
    match (offset, more) {
        (0, false) => None,
        (0, true) => Some("first fragment".to_owned()),
        (offset, true) => Some(format!("fragment from byte {offset}")),
        (offset, false) => Some(format!("last fragment from byte {offset}")),
    }
}

fn protocol(number: IpNumber) -> String {
    match number {
        IpNumber::IPV4 => "IPv4 inside".to_owned(),
        IpNumber::IPV6 => "IPv6 inside".to_owned(),
        IpNumber::IPV6_ICMP => "ICMPv6".to_owned(),
        other => other.keyword_str().map_or(format!("protocol {}", other.0), str::to_owned),
    }
}
