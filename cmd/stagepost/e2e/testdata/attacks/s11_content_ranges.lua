-- want: offset and length are not negative
plugin { id = "attack", needs = { read = "body" },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  assert(m.content:read(2 ^ 40, 10) == "")
  assert(m.content:read(0, 2 ^ 40) ~= "")
  for _, range in ipairs { { -1, 1 }, { 0, -1 }, { -2 ^ 63, 2 ^ 63 } } do
    assert(not pcall(m.content.read, m.content, range[1], range[2]))
  end
  m.content:read(-2 ^ 52, 2 ^ 52)
end
