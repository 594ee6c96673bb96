// The shell command that submits the same job.

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// curl interprets commas and semicolons in a file name unless it is in double quotes.
const part = (path) => quote(`files=@"${path.replace(/["\\]/g, "\\$&")}"`);

const MAX_FILES = 3;

export function curlFor(document, files, origin, withKey) {
  const job = quote(JSON.stringify(document));
  const key = withKey ? ' -H "Authorization: Bearer $PENSTOCK_API_KEY"' : "";
  if (document.inputs) {
    return `curl ${origin}/v1/jobs${key} -H 'Content-Type: application/json' \\\n     -d ${job}`;
  }
  const shown = files.slice(0, MAX_FILES).map(({ path }) => `     -F ${part(path)}`);
  if (!shown.length) shown.push("     -F files=@photo.jpg");
  const more = files.length > MAX_FILES ? `\n# and ${files.length - MAX_FILES} more files` : "";
  return `curl ${origin}/v1/jobs${key} --form-string job=${job} \\\n${shown.join(" \\\n")}${more}`;
}
