//! Owns who we are and which Regions there are.

use ami_backup_core::{failure::AwsFailure, id::Region};

use crate::{Aws, failure::Call};

/// What DescribeRegions says of a Region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionFacts {
    /// Its name.
    pub name: Region,
    /// Whether the account may use it: enabled by default, or opted in.
    pub enabled: bool,
}

impl Aws {
    /// The account that the functions run in, twelve digits.
    ///
    /// # Errors
    /// What STS refused.
    pub async fn account(&self) -> Result<String, AwsFailure> {
        let call = Call::new("sts:GetCallerIdentity", self.home());
        let identity = self.sts().get_caller_identity().send().await.map_err(|error| call.failed(error))?;
        call.required(identity.account, "Account")
    }

    /// Every Region of the partition, those included that the account has not enabled.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn regions(&self) -> Result<Vec<RegionFacts>, AwsFailure> {
        let call = Call::new("ec2:DescribeRegions", self.home());
        let answer = self.ec2(self.home()).describe_regions().all_regions(true).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let facts = |region: &aws_sdk_ec2::types::Region| {
            Some(RegionFacts {
                name: region.region_name()?.parse().ok()?,
                // The others are `opt-in-not-required` and `opted-in`.
                enabled: region.opt_in_status() != Some("not-opted-in"),
            })
        };
        Ok(answer.regions().iter().filter_map(facts).collect())
    }
}
