// The command that submits the same job from a shell, quoted for one.

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const MOST_FILES = 3;

export function curlFor(document, files, origin, withKey) {
  const job = quote(JSON.stringify(document));
  const key = withKey ? ' -H "Authorization: Bearer $PENSTOCK_API_KEY"' : "";
  if (document.inputs) {
    return `curl ${origin}/v1/jobs${key} -H 'Content-Type: application/json' \\\n     -d ${job}`;
  }
  const shown = files.slice(0, MOST_FILES).map(({ name }) => `     -F files=@${quote(name)}`);
  if (!shown.length) shown.push("     -F files=@photo.jpg");
  const more = files.length > MOST_FILES ? `\n# and ${files.length - MOST_FILES} more files` : "";
  return `curl ${origin}/v1/jobs${key} -F job=${job} \\\n${shown.join(" \\\n")}${more}`;
}
