-- want: loopback
plugin { id = "attack", needs = { http = { "*:*" } },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject(http.request { url = "http://127.0.0.1/" }.body)
end
