package javax.annotation;

/** Stands in for the annotation that Java no longer has. */
public @interface Generated {
    String[] value();

    String date() default "";

    String comments() default "";
}
