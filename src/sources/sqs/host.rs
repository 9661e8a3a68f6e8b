//! Hosts of SQS: the region of each, and whether it belongs to AWS.

/// Regions that share domains, and the first part of their ARNs.
#[derive(Debug)]
pub(super) struct Partition {
    /// The second part of an ARN.
    pub(super) name: &'static str,
    /// Prefixes of its regions.
    regions: &'static str,
    /// The domain of its hosts.
    pub(super) domain: &'static str,
    /// The domain of its dual-stack hosts.
    dual_stack: &'static str,
}

const fn partition(
    name: &'static str,
    regions: &'static str,
    domain: &'static str,
    dual_stack: &'static str,
) -> Partition {
    Partition { name, regions, domain, dual_stack }
}

/// Every partition in `partitions.json` of the SDKs. The last one has all regions that no other has.
const PARTITIONS: [Partition; 8] = [
    partition("aws-us-gov", "us-gov-", "amazonaws.com", "api.aws"),
    partition("aws-cn", "cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    partition("aws-iso", "us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    partition("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    partition("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    partition("aws-iso-f", "us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    partition("aws-eusc", "eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    partition("aws", "", "amazonaws.com", "api.aws"),
];

impl Partition {
    /// Every partition.
    pub(super) const ALL: &[Self] = &PARTITIONS;

    /// The partition of a region.
    pub(super) fn of(region: &str) -> &'static Self {
        let [others @ .., rest] = &PARTITIONS;
        others.iter().find(|partition| region.starts_with(partition.regions)).unwrap_or(rest)
    }
}

/// The region of a host that names none: the oldest one.
const FIRST_REGION: &str = "us-east-1";

/// The server behind a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Host {
    /// AWS's own, in this region.
    Aws(String),
    /// An emulator that has one host for each region.
    Emulator(String),
    /// A host that names no region: an emulator, a proxy, or a custom name.
    Other,
}

impl Host {
    /// Reads a host's name, which has no port.
    pub(super) fn of(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(region) = region_in_aws(&name) {
            return Self::Aws(region.to_owned());
        }
        // `sqs.eu-west-1.localhost.localstack.cloud`, `eu-west-1.queue.localhost.localstack.cloud`.
        let region = match name.split('.').collect::<Vec<_>>()[..] {
            // Only AWS has hosts in its domains, so a host of another form there is a mistake.
            _ if Partition::ALL.iter().any(|partition| partition.has(&name)) => None,
            ["sqs" | "sqs-fips", region, _, ..] | [region, "queue", _, ..] if is_region(region) => {
                Some(region)
            }
            ["queue", .., "localstack", "cloud"] | ["queue", "localhost"] => Some(FIRST_REGION),
            _ => None,
        };
        region.map_or(Self::Other, |region| Self::Emulator(region.to_owned()))
    }

    /// The region, if it names one.
    pub(super) fn region(&self) -> Option<&str> {
        match self {
            Self::Aws(region) | Self::Emulator(region) => Some(region),
            Self::Other => None,
        }
    }

    /// Whether it is AWS's own.
    pub(super) const fn is_aws(&self) -> bool {
        matches!(self, Self::Aws(_))
    }
}

impl Partition {
    /// Whether a host is in one of its domains.
    fn has(&self, host: &str) -> bool {
        [self.domain, self.dual_stack].into_iter().any(|domain| within(host, domain).is_some())
    }
}

/// The part of a host before the domain.
fn within<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    host.strip_suffix(domain)?.strip_suffix('.')
}

/// The region of a host that is AWS's own.
fn region_in_aws(host: &str) -> Option<&str> {
    PARTITIONS.iter().find_map(|partition| {
        let usual = within(host, partition.domain).and_then(in_domain);
        let region = usual.or_else(|| within(host, partition.dual_stack).and_then(after_service))?;
        // A region has its hosts in the domain of its own partition and nowhere else.
        (is_region(region) && Partition::of(region).name == partition.name).then_some(region)
    })
}

/// The region in the part before the domain: `sqs.REGION`, `REGION.queue`, `vpce-ID.sqs.REGION.vpce`.
fn in_domain(front: &str) -> Option<&str> {
    if front == "queue" {
        return Some(FIRST_REGION);
    }
    if let Some(front) = front.strip_suffix(".vpce") {
        let (endpoint, service) = front.split_once('.')?;
        return endpoint.strip_prefix("vpce-").and_then(|_| after_service(service));
    }
    after_service(front).or_else(|| front.strip_suffix(".queue"))
}

fn after_service(front: &str) -> Option<&str> {
    front.strip_prefix("sqs.").or_else(|| front.strip_prefix("sqs-fips."))
}

/// Whether a text is written as the names of regions are: `us-gov-west-1`.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    matches!(parts[..], [ref words @ .., number]
        if words.len() >= 2 && words.iter().all(is_word)
            && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_host_that_aws_has_names_its_region() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
            ("SQS.EU-WEST-1.AMAZONAWS.COM", "eu-west-1"),
            ("sqs.eu-west-1.amazonaws.com.", "eu-west-1"),
            ("sqs.ap-southeast-7.amazonaws.com", "ap-southeast-7"),
            ("sqs.mx-central-1.amazonaws.com", "mx-central-1"),
            ("sqs-fips.us-east-1.amazonaws.com", "us-east-1"),
            ("sqs-fips.ca-central-1.amazonaws.com", "ca-central-1"),
            ("sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("sqs-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
            ("us-gov-west-1.queue.amazonaws.com", "us-gov-west-1"),
            ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
            ("queue.amazonaws.com", "us-east-1"),
            ("sqs.eu-west-1.api.aws", "eu-west-1"),
            ("sqs-fips.us-east-2.api.aws", "us-east-2"),
            ("sqs-fips.us-gov-west-1.api.aws", "us-gov-west-1"),
            ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("cn-northwest-1.queue.amazonaws.com.cn", "cn-northwest-1"),
            ("sqs.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
            ("sqs.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
            ("sqs.us-iso-west-1.api.aws.ic.gov", "us-iso-west-1"),
            ("sqs.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
            ("sqs.us-isob-west-1.api.aws.scloud", "us-isob-west-1"),
            ("sqs.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1"),
            ("sqs.eu-isoe-west-1.api.cloud-aws.adc-e.uk", "eu-isoe-west-1"),
            ("sqs.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1"),
            ("sqs.us-isof-east-1.api.aws.hci.ic.gov", "us-isof-east-1"),
            ("sqs.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("sqs.eusc-de-east-1.api.amazonwebservices.eu", "eusc-de-east-1"),
            ("vpce-0a1b-c2d3.sqs.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
            ("vpce-0a1b-c2d3-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
            ("vpce-0a1b-c2d3.sqs-fips.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("vpce-0a1b-c2d3.sqs.cn-north-1.vpce.amazonaws.com.cn", "cn-north-1"),
        ] {
            assert_eq!(Host::of(host), Host::Aws(region.to_owned()), "{host}");
        }
    }

    #[test]
    fn a_host_of_an_emulator_may_name_a_region_and_is_not_one_of_aws() {
        for (host, region) in [
            ("sqs.eu-west-1.localhost.localstack.cloud", "eu-west-1"),
            ("eu-west-1.queue.localhost.localstack.cloud", "eu-west-1"),
            ("queue.localhost.localstack.cloud", "us-east-1"),
            ("queue.localhost", "us-east-1"),
            ("eu-west-1.queue.localhost", "eu-west-1"),
            ("sqs.us-east-1.localhost", "us-east-1"),
            ("sqs.us-east-1.localstack.dev.svc", "us-east-1"),
        ] {
            assert_eq!(Host::of(host), Host::Emulator(region.to_owned()), "{host}");
        }
    }

    #[test]
    fn a_host_that_only_resembles_one_of_aws_is_not_one() {
        for host in [
            "localhost",
            "127.0.0.1",
            "[::1]",
            "localstack",
            "localhost.localstack.cloud",
            "sqs.internal.example",
            "queue.acme.example",
            "sqs.amazonaws.com",
            "sns.eu-west-1.amazonaws.com",
            "sqs.eu-west-1.amazonaws.com.cn",
            "sqs.cn-north-1.amazonaws.com",
            "sqs.us-iso-east-1.amazonaws.com",
            "sqs.eu-west-1.c2s.ic.gov",
            "sqs.x.eu-west-1.amazonaws.com",
            "sqs..amazonaws.com",
            "sqs.eu-west.amazonaws.com",
            "sqs.eu-west-1.vpce.amazonaws.com",
            "x.sqs.eu-west-1.vpce.amazonaws.com",
            "queue.amazonaws.com.cn",
            "sqseu-west-1.amazonaws.com",
            "notamazonaws.com",
        ] {
            assert_eq!(Host::of(host), Host::Other, "{host}");
        }
        // Its region counts; where the connection asks AWS it is refused all the same.
        for host in ["sqs.eu-west-1.amazonaws.com.evil.example", "sqs.eu-west-1.amazonaws.co"] {
            assert_eq!(Host::of(host), Host::Emulator("eu-west-1".to_owned()), "{host}");
        }
    }
}
