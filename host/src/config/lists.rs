//! Settings that are lists, in words with commas between them.

use super::Config;

pub(super) fn set_devices(config: &mut Config, text: &str) -> Result<(), String> {
    let devices: Vec<String> = text.split(',').map(|device| device.trim().to_owned()).collect();
    if let Some(unknown) = devices.iter().find(|device| !["cuda", "cpu"].contains(&device.as_str())) {
        return Err(format!("'{unknown}' is not a device: write a list of cuda, cpu"));
    }
    config.onnxruntime.devices = devices;
    Ok(())
}

pub(super) fn set_origins(field: &mut Vec<String>, text: &str) -> Result<(), String> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let origins: Vec<String> = origins.map(ToOwned::to_owned).collect();
    let is_origin = |text: &str| {
        let uri = text.parse::<http::Uri>().ok();
        uri.is_some_and(|uri| uri.scheme().is_some() && uri.path() == "/" && uri.query().is_none())
            && !text.ends_with('/')
    };
    match origins.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
        Some(wrong) => Err(format!("'{wrong}' is not an origin: write * or a list such as https://example.com")),
        None => {
            *field = origins;
            Ok(())
        }
    }
}
