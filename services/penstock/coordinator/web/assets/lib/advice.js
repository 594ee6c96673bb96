// Advice on an image that failed, by error code.

const ADVICE = {
  empty_file: "The file is empty. Send the original file in a new job.",
  unsupported_type: "Files of this type are not read here. Convert it, then send it in a new job.",
  corrupt_image: "The file is damaged. Send another copy in a new job.",
  truncated_image: "The file is incomplete. Send it again in a new job.",
  unsupported_colorspace: "Convert the file to RGB or grayscale, then send it in a new job.",
  too_many_pixels: "Send a smaller image, or ask for a higher limit (PENSTOCK_MAX_PIXELS).",
  too_large_file: "Send a smaller file, or ask for a higher limit (PENSTOCK_MAX_FILE_BYTES).",
  parameter_not_applicable: "An operation does not apply to this image. Choose other operations for it.",
  invalid_regions: "Correct the image's .regions.json file, then retry, or send both in a new job.",
  source_not_found: "Put the file where the job expects it, then retry.",
  source_forbidden: "Allow the server to read the file and to write the results, then retry.",
  step_timeout: "The step took too long. Retry; if it happens again, ask for a longer time limit.",
  image_timeout: "The image took too long. Choose fewer or quicker operations, or ask for a longer time limit.",
  step_crashed: "The step crashed on this image. Retry; if it happens again, look at the step's log.",
  attempts_exhausted: "All attempts failed. Retry once the cause is fixed.",
  internal: "Unexpected error. Retry; if it happens again, look at the server's log.",
};

export const adviceFor = (error) =>
  ADVICE[error.code] || (error.retry ? "Retrying may help." : "Retrying will not help; send another file.");
