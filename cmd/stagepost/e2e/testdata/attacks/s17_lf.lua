-- want: defer: 
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return defer "no\n250 2.1.5 accepted"
end
