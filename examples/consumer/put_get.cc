// Puts a value into the servers that MEMKV_SERVERS names, and gets it back.
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <memkv/memkv.h>

struct Close {
    void operator()(mkv_client *client) const
    {
        mkv_client_close(&client);
    }
};
using Client = std::unique_ptr<mkv_client, Close>;

static Client open()
{
    mkv_client_options options{};
    options.size = sizeof(options);
    mkv_client *client = nullptr;
    mkv_error error{};
    if (mkv_client_open(&options, &client, &error) < 0) {
        throw std::runtime_error(error.text);
    }
    return Client(client);
}

int main()
try {
    const std::string key = "example-c++";
    const std::string value(1 << 20, 'v');
    std::string back(value.size(), '\0');

    Client client = open();
    int put = mkv_set(client.get(), key.data(), key.size(), value.data(), value.size());
    int64_t got = mkv_get(client.get(), key.data(), key.size(), &back[0], back.size(), nullptr);
    if (put < 0 || got < 0) {
        throw std::runtime_error(mkv_error_text(put < 0 ? put : static_cast<int>(got)));
    }
    std::printf("%s %s, got %zu bytes\n", key.c_str(), put ? "stored" : "kept", back.size());
    return back == value ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
