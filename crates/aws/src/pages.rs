//! Owns reading pages of snapshots and images, of which an account has a hundred thousand.
//!
//! The SDK's reader of XML takes most of the time of a plan (docs/decisions/0018-a-large-account.md). For these two listings an
//! interceptor puts another in its place. Everything else is the SDK's, errors included, and what is read are its types:
//! the fields that `snapshots::facts` and `images::facts` look at, and no others.

use std::{any::Any, borrow::Cow, error::Error as StdError, fmt::Debug, str::FromStr};

use aws_sdk_ec2::{
    operation::{describe_images::DescribeImagesOutput, describe_snapshots::DescribeSnapshotsOutput},
    primitives::{DateTime, DateTimeFormat},
    types::{BlockDeviceMapping, EbsBlockDevice, Image, ProductCode, Snapshot, StateReason, Tag},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeDeserializationInterceptorContextMut, Error as OperationError, Output},
            dyn_dispatch_hint,
        },
        orchestrator::{HttpResponse, OrchestratorError},
        runtime_components::RuntimeComponents,
        ser_de::{DeserializeResponse, SharedResponseDeserializer},
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use quick_xml::{
    Reader,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};

/// Reads the answers of one operation that were no refusals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadPages<O>(fn(&str) -> Result<O, BoxError>);

/// Reads pages of `DescribeSnapshots`.
pub(crate) const SNAPSHOTS: ReadPages<DescribeSnapshotsOutput> = ReadPages(snapshots);
/// Reads pages of `DescribeImages`.
pub(crate) const IMAGES: ReadPages<DescribeImagesOutput> = ReadPages(images);

#[dyn_dispatch_hint]
impl<O: Any + Clone + Debug + Send + Sync> Intercept for ReadPages<O> {
    fn name(&self) -> &'static str {
        "ReadPages"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A refusal is the SDK's to read.
        if context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl<O: Any + Clone + Debug + Send + Sync> DeserializeResponse for ReadPages<O> {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<OperationError>> {
        let status = response.status();
        if !status.is_success() {
            // Only after an answer of the same call that broke off. A response error is tried again, as that one was.
            return Err(OrchestratorError::response(format!("HTTP {}", status.as_u16()).into()));
        }
        let body = response.body().bytes().unwrap_or_default();
        let read = std::str::from_utf8(body).map_err(BoxError::from).and_then(self.0);
        read.map(Output::erase).map_err(OrchestratorError::response)
    }
}

fn snapshots(body: &str) -> Result<DescribeSnapshotsOutput, BoxError> {
    let mut xml = Xml::open(body, "DescribeSnapshotsResponse")?;
    let mut page = DescribeSnapshotsOutput::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "snapshotSet" => page.snapshots = Some(xml.items(snapshot)?),
            "nextToken" => page.next_token = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(page)
}

fn snapshot(xml: &mut Xml<'_>) -> Result<Snapshot, BoxError> {
    let mut read = Snapshot::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "snapshotId" => read.snapshot_id = Some(xml.text()?.into_owned()),
            "status" => read.state = Some(xml.text()?.as_ref().into()),
            // A time that is none is not known: it fails no listing.
            "startTime" => read.start_time = DateTime::from_str(&xml.text()?, DateTimeFormat::DateTimeWithOffset).ok(),
            "progress" => read.progress = Some(xml.text()?.into_owned()),
            "ownerId" => read.owner_id = Some(xml.text()?.into_owned()),
            "volumeSize" => read.volume_size = Some(xml.value()?),
            "fullSnapshotSizeInBytes" => read.full_snapshot_size_in_bytes = Some(xml.value()?),
            "description" => read.description = Some(xml.text()?.into_owned()),
            "tagSet" => read.tags = Some(xml.items(tag)?),
            "encrypted" => read.encrypted = Some(xml.value()?),
            "kmsKeyId" => read.kms_key_id = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn images(body: &str) -> Result<DescribeImagesOutput, BoxError> {
    let mut xml = Xml::open(body, "DescribeImagesResponse")?;
    let mut page = DescribeImagesOutput::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "imagesSet" => page.images = Some(xml.items(image)?),
            "nextToken" => page.next_token = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(page)
}

fn image(xml: &mut Xml<'_>) -> Result<Image, BoxError> {
    let mut read = Image::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "imageId" => read.image_id = Some(xml.text()?.into_owned()),
            "imageOwnerId" => read.owner_id = Some(xml.text()?.into_owned()),
            "name" => read.name = Some(xml.text()?.into_owned()),
            "description" => read.description = Some(xml.text()?.into_owned()),
            "imageState" => read.state = Some(xml.text()?.as_ref().into()),
            "stateReason" => read.state_reason = Some(state_reason(xml)?),
            "creationDate" => read.creation_date = Some(xml.text()?.into_owned()),
            "architecture" => read.architecture = Some(xml.text()?.as_ref().into()),
            "bootMode" => read.boot_mode = Some(xml.text()?.as_ref().into()),
            "enaSupport" => read.ena_support = Some(xml.value()?),
            "imdsSupport" => read.imds_support = Some(xml.text()?.as_ref().into()),
            "platformDetails" => read.platform_details = Some(xml.text()?.into_owned()),
            "rootDeviceName" => read.root_device_name = Some(xml.text()?.into_owned()),
            "sriovNetSupport" => read.sriov_net_support = Some(xml.text()?.into_owned()),
            "tpmSupport" => read.tpm_support = Some(xml.text()?.as_ref().into()),
            "usageOperation" => read.usage_operation = Some(xml.text()?.into_owned()),
            "virtualizationType" => read.virtualization_type = Some(xml.text()?.as_ref().into()),
            "rootDeviceType" => read.root_device_type = Some(xml.text()?.as_ref().into()),
            "deprecationTime" => read.deprecation_time = Some(xml.text()?.into_owned()),
            "lastLaunchedTime" => read.last_launched_time = Some(xml.text()?.into_owned()),
            "sourceInstanceId" => read.source_instance_id = Some(xml.text()?.into_owned()),
            "deregistrationProtection" => read.deregistration_protection = Some(xml.text()?.into_owned()),
            "isPublic" => read.public = Some(xml.value()?),
            "imageOwnerAlias" => read.image_owner_alias = Some(xml.text()?.into_owned()),
            "productCodes" => read.product_codes = Some(xml.items(product_code)?),
            "tagSet" => read.tags = Some(xml.items(tag)?),
            "blockDeviceMapping" => read.block_device_mappings = Some(xml.items(mapping)?),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn state_reason(xml: &mut Xml<'_>) -> Result<StateReason, BoxError> {
    let mut read = StateReason::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "code" => read.code = Some(xml.text()?.into_owned()),
            "message" => read.message = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn product_code(xml: &mut Xml<'_>) -> Result<ProductCode, BoxError> {
    let mut read = ProductCode::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "productCode" => read.product_code_id = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn mapping(xml: &mut Xml<'_>) -> Result<BlockDeviceMapping, BoxError> {
    let mut read = BlockDeviceMapping::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "deviceName" => read.device_name = Some(xml.text()?.into_owned()),
            "virtualName" => read.virtual_name = Some(xml.text()?.into_owned()),
            "ebs" => read.ebs = Some(ebs(xml)?),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn ebs(xml: &mut Xml<'_>) -> Result<EbsBlockDevice, BoxError> {
    let mut read = EbsBlockDevice::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "snapshotId" => read.snapshot_id = Some(xml.text()?.into_owned()),
            "volumeSize" => read.volume_size = Some(xml.value()?),
            "volumeType" => read.volume_type = Some(xml.text()?.as_ref().into()),
            "iops" => read.iops = Some(xml.value()?),
            "throughput" => read.throughput = Some(xml.value()?),
            "deleteOnTermination" => read.delete_on_termination = Some(xml.value()?),
            "encrypted" => read.encrypted = Some(xml.value()?),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

fn tag(xml: &mut Xml<'_>) -> Result<Tag, BoxError> {
    let mut read = Tag::builder().build();
    while let Some(child) = xml.child()? {
        match child.name().0 {
            "key" => read.key = Some(xml.text()?.into_owned()),
            "value" => read.value = Some(xml.text()?.into_owned()),
            _ => xml.past(&child)?,
        }
    }
    Ok(read)
}

/// An answer while it is read. Whoever gets a child has to read it, or go past it.
struct Xml<'a>(Reader<&'a [u8]>);

impl<'a> Xml<'a> {
    /// Opens an answer, which must be of this name: what a proxy says is no empty account. Its children are the next.
    fn open(body: &'a str, name: &str) -> Result<Self, BoxError> {
        let mut reader = Reader::from_str(body);
        reader.config_mut().expand_empty_elements = true;
        let mut xml = Self(reader);
        match xml.child()? {
            Some(answer) if answer.name().0 == name => Ok(xml),
            _ => Err(format!("the answer is no {name}").into()),
        }
    }

    /// The next child of the element that is open, or `None` once that is closed.
    fn child(&mut self) -> Result<Option<BytesStart<'a>>, BoxError> {
        loop {
            match self.0.read_event()? {
                Event::Start(child) => return Ok(Some(child)),
                Event::End(_) => return Ok(None),
                Event::Eof => return Err(BROKEN_OFF.into()),
                _ => {}
            }
        }
    }

    /// Goes past a child.
    fn past(&mut self, child: &BytesStart<'_>) -> Result<(), BoxError> {
        self.0.read_to_end(child.name())?;
        Ok(())
    }

    /// Every child of the element that is open.
    fn items<T>(&mut self, each: impl Fn(&mut Self) -> Result<T, BoxError>) -> Result<Vec<T>, BoxError> {
        // A thing has rarely more tags, and an image rarely more disks.
        let mut items = Vec::with_capacity(10);
        while self.child()?.is_some() {
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// The text of the element that is open. Most are in one piece, and need no copy to be looked at.
    fn text(&mut self) -> Result<Cow<'a, str>, BoxError> {
        let mut text = Cow::Borrowed("");
        loop {
            let part = match self.0.read_event()? {
                Event::Text(part) => part.into_inner(),
                Event::CData(part) => part.into_inner(),
                Event::GeneralRef(name) => match (name.resolve_char_ref()?, resolve_xml_entity(&name)) {
                    (Some(character), _) => Cow::Owned(character.to_string()),
                    (None, Some(meant)) => Cow::Borrowed(meant),
                    (None, None) => return Err(format!("the answer has an unknown entity &{};", &*name).into()),
                },
                Event::End(_) => return Ok(text),
                Event::Start(child) => return Err(format!("<{}> is where a text should be", child.name().0).into()),
                Event::Eof => return Err(BROKEN_OFF.into()),
                _ => continue,
            };
            // Of an empty text it is the other one.
            text += part;
        }
    }

    /// The number or the truth value in the element that is open.
    fn value<T: FromStr<Err: StdError + Send + Sync + 'static>>(&mut self) -> Result<T, BoxError> {
        Ok(self.text()?.trim().parse()?)
    }
}

const BROKEN_OFF: &str = "the answer breaks off";
