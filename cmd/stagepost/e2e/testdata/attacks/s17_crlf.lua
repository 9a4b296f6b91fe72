-- want: reject: 
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject "no\r\n250 2.1.5 accepted"
end
