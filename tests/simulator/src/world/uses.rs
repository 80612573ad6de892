//! Owns what names images without being an instance or a launch template. None of it changes by itself:
//! a test changes it.

use crate::account::{
    Account, AccountFile, AutoScalingGroup, Fleet, LaunchConfiguration, Recipe, SpotFleet, SsmParameter,
    TemplateSpecification,
};

use super::LaunchTemplate;
use super::state::State;

/// Something of the account file, with the account that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned<T> {
    /// Account.
    pub account: String,
    /// What it is.
    pub it: T,
}

/// All of it, in all accounts and Regions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Auto Scaling groups.
    pub auto_scaling_groups: Vec<Owned<AutoScalingGroup>>,
    /// Launch configurations.
    pub launch_configurations: Vec<Owned<LaunchConfiguration>>,
    /// EC2 Fleets.
    pub fleets: Vec<Owned<Fleet>>,
    /// Spot Fleet requests.
    pub spot_fleets: Vec<Owned<SpotFleet>>,
    /// Parameters of Systems Manager.
    pub ssm_parameters: Vec<Owned<SsmParameter>>,
    /// Image recipes of Image Builder.
    pub image_recipes: Vec<Owned<Recipe>>,
    /// Container recipes of Image Builder.
    pub container_recipes: Vec<Owned<Recipe>>,
}

impl Uses {
    /// What the file describes.
    pub(super) fn of(file: &AccountFile) -> Self {
        Self {
            auto_scaling_groups: owned(file, |account| &account.auto_scaling_groups),
            launch_configurations: owned(file, |account| &account.launch_configurations),
            fleets: owned(file, |account| &account.fleets),
            spot_fleets: owned(file, |account| &account.spot_fleets),
            ssm_parameters: owned(file, |account| &account.ssm_parameters),
            image_recipes: owned(file, |account| &account.image_recipes),
            container_recipes: owned(file, |account| &account.container_recipes),
        }
    }
}

impl State {
    /// A launch template as services show it: by its id and its name, whichever named it, as long as it
    /// is there.
    pub(crate) fn filled_in(
        &self,
        account: &str,
        region: &str,
        named: &TemplateSpecification,
    ) -> TemplateSpecification {
        let meant = |template: &&LaunchTemplate| {
            let by_id = named.launch_template_id.as_ref() == Some(&template.id);
            let by_name = named.launch_template_name.as_ref() == Some(&template.name);
            template.account == account && template.region == region && (by_id || by_name)
        };
        let found = self.templates.values().find(meant);
        TemplateSpecification {
            launch_template_id: found.map(|one| one.id.clone()).or_else(|| named.launch_template_id.clone()),
            launch_template_name: found.map(|one| one.name.clone()).or_else(|| named.launch_template_name.clone()),
            version: Some(named.version.clone().unwrap_or_else(|| "$Default".into())),
        }
    }
}

/// What `of` gives of each account, with the account.
pub(super) fn owned<T: Clone>(file: &AccountFile, of: impl Fn(&Account) -> &Vec<T>) -> Vec<Owned<T>> {
    let its = |account: &Account| {
        let id = account.id.clone();
        of(account).iter().map(move |it| Owned { account: id.clone(), it: it.clone() }).collect::<Vec<_>>()
    };
    file.accounts.iter().flat_map(its).collect()
}
