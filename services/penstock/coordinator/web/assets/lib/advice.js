// What to do about an image that failed, by its code.

const ADVICE = {
  empty_file: "The file has no bytes. Send it again from where it came from.",
  unsupported_type: "Neither JPEG nor PNG by its bytes. Convert the file, then send it in a new job.",
  corrupt_image: "The file is damaged. Send another copy of it in a new job.",
  truncated_image: "The end of the file is missing, as after a broken copy. Send it again in a new job.",
  unsupported_colorspace: "Convert the file to RGB or grey, then send it in a new job.",
  too_many_pixels: "Send a smaller picture, or have the limit raised (PENSTOCK_MAX_PIXELS).",
  too_large_file: "Send a smaller file, or have the limit raised (PENSTOCK_MAX_FILE_BYTES).",
  parameter_not_applicable: "An operation cannot be done on this picture. Choose other operations for it.",
  source_not_found: "Put the file where the job names it, then retry.",
  source_forbidden: "Let the server read the file, or write where the results shall go, then retry.",
  step_timeout: "The step took too long. Retry; if it happens again, have the step's time raised.",
  step_crashed: "The step ended while it worked on this picture. Retry; if it happens again, look at its log.",
  attempts_exhausted: "It was tried as often as allowed. Retry, once what broke is whole again.",
  internal: "Something unexpected happened. Retry; if it happens again, look at the server's log.",
};

export const adviceFor = (error) =>
  ADVICE[error.code] || (error.retry ? "Retrying may help." : "Retrying will not help; send another file.");
