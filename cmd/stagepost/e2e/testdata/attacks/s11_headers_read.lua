-- want: ran out of memory
plugin { id = "attack", needs = { read = "headers" },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  local all = {}
  while true do all[#all + 1] = m:headers() end
end
