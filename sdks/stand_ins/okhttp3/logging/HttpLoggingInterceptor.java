package okhttp3.logging;

import java.io.IOException;
import okhttp3.Interceptor;
import okhttp3.Response;

/** Stands in for okhttp's logging, which Debian does not have: logs nothing. */
public class HttpLoggingInterceptor implements Interceptor {
    public enum Level {
        NONE,
        BODY
    }

    public HttpLoggingInterceptor setLevel(Level level) {
        return this;
    }

    @Override
    public Response intercept(Chain chain) throws IOException {
        return chain.proceed(chain.request());
    }
}
